"""Whole cells and rows of a dataset."""

from __future__ import annotations

import asyncio
from uuid import UUID

from mistudio_datasets.data.browsing.sample_content import SampleContent, read_content
from mistudio_datasets.service.sample_requests import Place, reading
from mistudio_datasets.service.tools import Tools


async def get_content(tools: Tools, dataset_id: UUID, split: str, row: int, column: str) -> SampleContent:
    """The whole cell of `row` in `column`, or the whole row as JSON if `column` is empty.

    Raises:
        DatasetNotFound, DatasetNotReady, SplitNotFound, RowNotFound, ColumnNotFound: there is no such cell.
        MalformedFile: the dataset's file is broken.
    """

    async def read(place: Place) -> SampleContent:
        return await asyncio.to_thread(read_content, place.folder, place.layout, split, row, column)

    return await reading(tools, dataset_id, read)

"""Rows of a dataset: from any row on, or those that a query finds."""

from __future__ import annotations

import asyncio

from mistudio_datasets.data.browsing.samples import read_rows
from mistudio_datasets.service.found_samples import find_samples
from mistudio_datasets.service.sample_requests import (
    ANSWER_BYTES,
    Place,
    SamplesAnswer,
    SamplesRequest,
    check_offset,
    page_rows,
    reading,
)
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.pagination import encode_token, offset_token


async def list_samples(tools: Tools, request: SamplesRequest) -> SamplesAnswer:
    """A page of rows, kept under 2 MiB.

    Raises:
        DatasetNotFound, DatasetNotReady, SplitNotFound: there are no such rows to show.
        InvalidArgument, InvalidPageToken: page size, offset or token are wrong.
        MalformedFile: the dataset's file is broken.
        MistudioError: with a query, what `find_samples` raises.
    """
    return await (_all_rows if request.query.is_empty else find_samples)(tools, request)


async def _all_rows(tools: Tools, request: SamplesRequest) -> SamplesAnswer:
    limit = page_rows(request)
    offset = offset_token(request.identity, request.page_token, check_offset(request.offset))

    async def read(place: Place) -> SamplesAnswer:
        page = await asyncio.to_thread(
            read_rows, tools.scans.engine, place.folder, place.layout, request.split, offset, limit, ANSWER_BYTES
        )
        next_row = offset + len(page.rows)
        token = encode_token(request.identity, [next_row]) if page.rows and next_row < page.total_rows else ""
        return SamplesAnswer(page.rows, token, page.total_rows)

    return await reading(tools, request.dataset_id, read)

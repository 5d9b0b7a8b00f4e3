"""Pages of rows as they are asked for and answered, and the files that they are read from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from mistudio_datasets.data.browsing.samples import SampleRow
from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.domain.datasets import Dataset, Layout, require_ready
from mistudio_datasets.domain.sample_queries import SampleQuery
from mistudio_datasets.service import datasets
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.service.words import Ranking
from mistudio_servicekit.errors import InvalidArgument
from mistudio_servicekit.pagination import PageRequest
from mistudio_servicekit.storage import Area

DEFAULT_ROWS = 20
MOST_ROWS = 1000
ANSWER_BYTES = 2 << 20

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class SamplesRequest:
    """Rows to show; see `ListSamplesRequest` for the meaning of each field."""

    dataset_id: UUID
    split: str = ""
    offset: int = 0
    page_size: int = 0
    page_token: str = ""
    query: SampleQuery = field(default_factory=SampleQuery)
    include_total: bool = False

    @property
    def identity(self) -> tuple[object, ...]:
        """What a page token is bound to."""
        identity: tuple[object, ...] = ("samples", str(self.dataset_id), self.split)
        return identity if self.query.is_empty else (*identity, self.query)


@dataclass(frozen=True)
class SamplesAnswer:
    """A page of rows.

    Attributes:
        rows: at most 2 MiB of them.
        next_page_token: empty after the last row.
        total: rows in the split that match, or None where they were not counted.
        ranking: how a search for words was ranked; None for other searches.
        word_index_job_id: the job that builds the word index, where words were ranked without it.
    """

    rows: tuple[SampleRow, ...]
    next_page_token: str
    total: int | None
    ranking: Ranking | None = None
    word_index_job_id: UUID | None = None


@dataclass(frozen=True)
class Place:
    """A READY dataset and where its rows lie."""

    dataset: Dataset
    folder: Path
    layout: Layout


async def reading(tools: Tools, dataset_id: UUID, read: Callable[[Place], Awaitable[_Result]]) -> _Result:
    """What `read` makes of the files of a dataset.

    Raises:
        DatasetNotFound, DatasetNotReady: there are none, or they were deleted meanwhile.
    """
    dataset = await datasets.get(tools, dataset_id)
    require_ready(dataset)
    folder = tools.store.epoch(Area.DATASETS, dataset.id, dataset.epoch)
    try:
        return await read(Place(dataset, folder, await asyncio.to_thread(read_layout, folder)))
    except FileNotFoundError:
        # Deleted meanwhile, which this says; if not, the store has lost files.
        await datasets.get(tools, dataset_id)
        raise


def page_rows(request: SamplesRequest) -> int:
    """How many rows a page may hold; raises `InvalidArgument`."""
    return PageRequest(page_size=request.page_size).size(DEFAULT_ROWS, MOST_ROWS)


def check_offset(offset: int) -> int:
    """`offset`, which must not be negative."""
    if offset < 0:
        raise InvalidArgument(f"offset is {offset}", next_step="Count from 0", field="offset")
    return offset

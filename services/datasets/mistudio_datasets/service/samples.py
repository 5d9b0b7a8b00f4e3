"""Rows of a dataset, from any row on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from mistudio_datasets.data.layout_file import read_layout
from mistudio_datasets.data.samples import SampleRow, read_rows
from mistudio_datasets.domain.datasets import Dataset, DatasetStatus
from mistudio_datasets.service import datasets
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.errors import DatasetNotReady, InvalidArgument
from mistudio_servicekit.pagination import Page, PageRequest, encode_token, offset_token
from mistudio_servicekit.storage import Area

DEFAULT_ROWS = 20
MOST_ROWS = 1000
ANSWER_BYTES = 2 << 20


@dataclass(frozen=True)
class SamplesRequest:
    """Rows to show; see `ListSamplesRequest` for the meaning of each field."""

    dataset_id: UUID
    split: str = ""
    offset: int = 0
    page_size: int = 0
    page_token: str = ""


async def list_samples(tools: Tools, request: SamplesRequest) -> Page[SampleRow]:
    """A page of rows, kept under 2 MiB.

    Raises:
        DatasetNotFound, DatasetNotReady, SplitNotFound: there are no such rows to show.
        InvalidArgument, InvalidPageToken: page size, offset or token are wrong.
        MalformedFile: the dataset's file is broken.
    """
    limit = PageRequest(page_size=request.page_size).size(DEFAULT_ROWS, MOST_ROWS)
    query = ("samples", str(request.dataset_id), request.split)
    offset = offset_token(query, request.page_token, check_offset(request.offset))
    dataset = await datasets.get(tools, request.dataset_id)
    require_ready(dataset)
    folder = tools.store.epoch(Area.DATASETS, dataset.id, dataset.epoch)
    try:
        found = await asyncio.to_thread(
            lambda: read_rows(folder, read_layout(folder), request.split, offset, limit, ANSWER_BYTES)
        )
    except FileNotFoundError:
        # Deleted meanwhile, which this says; if not, the store has lost files.
        await datasets.get(tools, request.dataset_id)
        raise
    next_row = offset + len(found.rows)
    token = encode_token(query, [next_row]) if found.rows and next_row < found.total_rows else ""
    return Page(found.rows, token, found.total_rows)


def check_offset(offset: int) -> int:
    """`offset`, which must not be negative."""
    if offset < 0:
        raise InvalidArgument(f"offset is {offset}", next_step="Count from 0", field="offset")
    return offset


def require_ready(dataset: Dataset) -> None:
    """Raise `DatasetNotReady` unless the dataset's files are complete."""
    if dataset.status is DatasetStatus.READY:
        return
    next_step = f"Wait for job {dataset.job_id}" if dataset.status.is_running else "Bring it in again, or retry its job"
    raise DatasetNotReady(
        f"Dataset {dataset.id} is {dataset.status}, not READY",
        next_step=next_step,
        metadata={"subject": f"dataset/{dataset.id}", "status": dataset.status.value},
    )

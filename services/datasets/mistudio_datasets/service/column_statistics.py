"""Statistics of a dataset's columns, as they were made in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from mistudio_datasets.data.columns.column_statistics import read_statistics
from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.domain.column_statistics import ColumnStatistics
from mistudio_datasets.domain.datasets import Dataset, require_ready
from mistudio_datasets.domain.derived import Derived, DerivedKind
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.service import datasets, derived
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.errors import ColumnStatisticsNotReady
from mistudio_servicekit.storage import Area


@dataclass(frozen=True)
class SplitStatistics:
    """The name of a split and the statistics of its columns."""

    split: str
    columns: tuple[ColumnStatistics, ...]


async def get(tools: Tools, dataset_id: UUID, split: str, columns: Sequence[str]) -> SplitStatistics:
    """The statistics of the columns of a split (empty: the only one, or `train`), of all columns if none is named.

    Raises:
        DatasetNotFound, DatasetNotReady: the dataset forbids it.
        ColumnStatisticsNotReady: they are not made yet.
        SplitNotFound, ColumnNotFound: there is none of this name.
    """
    dataset = await datasets.get(tools, dataset_id)
    require_ready(dataset)
    made = await derived.find(tools, dataset_id, DerivedKind.COLUMN_STATISTICS)
    if made is None or made.status is not WorkStatus.READY:
        raise _not_ready(dataset, made)
    files = tools.store.epoch(Area.DATASETS, dataset.id, dataset.epoch)
    folder = tools.store.epoch(Area.DERIVED, made.id, made.epoch)
    try:
        return await asyncio.to_thread(_read, files, folder, split, columns)
    except FileNotFoundError:
        # Deleted meanwhile, which this says; if not, the store has lost files.
        await datasets.get(tools, dataset_id)
        raise


def _read(files: Path, folder: Path, split: str, columns: Sequence[str]) -> SplitStatistics:
    layout = read_layout(files)
    info = layout.split(split)
    return SplitStatistics(info.name, read_statistics(folder, layout, info, columns))


def _not_ready(dataset: Dataset, made: Derived | None) -> ColumnStatisticsNotReady:
    subject = {"subject": f"dataset/{dataset.id}"}
    if made is None:
        return ColumnStatisticsNotReady(
            f"The column statistics of dataset {dataset.id} were never asked for",
            next_step="Call CreateColumnStatistics and wait for its job",
            metadata=subject,
        )
    running = made.status is WorkStatus.PROCESSING
    again = "Call CreateColumnStatistics to make them afresh, or retry the job"
    return ColumnStatisticsNotReady(
        f"The column statistics of dataset {dataset.id} are {made.status}, not READY",
        next_step=f"Wait for job {made.job_id}" if running else again,
        metadata=subject | {"status": made.status.value, "job_id": str(made.job_id)},
    )

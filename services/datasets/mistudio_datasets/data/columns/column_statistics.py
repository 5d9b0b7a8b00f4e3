"""Statistics of all columns of a dataset, kept as JSON, a file for each split and a line for each column."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from mistudio_datasets.data.browsing.query_search import column_not_found
from mistudio_datasets.data.columns.column_figures import ColumnFigures
from mistudio_datasets.data.columns.column_figures_distinct import Hasher
from mistudio_datasets.data.texts.rows import Rows
from mistudio_datasets.domain.column_statistics import ColumnStatistics
from mistudio_datasets.domain.datasets import Column, Layout, SplitInfo
from mistudio_datasets.domain.progress import Monitor

_BATCH_BYTES = 8 << 20
_MEMORY_BYTES = 512 << 20
_BYTES_A_VALUE = 100
_MOST_VALUES_KEPT = 1_000_000
_MOST_COLUMNS = 1024
_COUNTING = "counting"


def make_statistics(dataset: Path, layout: Layout, folder: Path, monitor: Monitor) -> None:
    """Write the statistics of every column and split of the dataset in the epoch folder `dataset` to `folder`.

    Columns are read a few at a time, so that memory is bounded however many there are. Progress is in cells.

    Raises:
        MalformedFile: a file of the dataset is broken.
    """
    progress = _Progress(layout.rows * len(layout.columns), monitor)
    with closing(Hasher()) as hasher:
        for number, split in enumerate(layout.splits):
            with _split_file(folder, number).open("w", encoding="utf-8") as file:
                for columns in _groups(layout.columns, split.rows):
                    for figures in _figures(dataset, split, columns, hasher, progress):
                        file.write(figures.to_json() + "\n")


def read_statistics(
    folder: Path, layout: Layout, split: SplitInfo, columns: Sequence[str] = ()
) -> tuple[ColumnStatistics, ...]:
    """The statistics of `columns`, or of all, of a split, from what `make_statistics` wrote to `folder`.

    Raises:
        ColumnNotFound: there is no such column.
        FileNotFoundError: they are gone.
    """
    numbers = {column.name: number for number, column in enumerate(layout.columns)}
    for name in columns:
        if name not in numbers:
            raise column_not_found(name, layout, "columns")
    # Lines are parsed only where they are wanted: there may be ten thousand.
    lines = _split_file(folder, layout.splits.index(split)).read_bytes().split(b"\n")
    wanted = dict.fromkeys(columns or numbers)
    return tuple(ColumnStatistics.from_json(lines[numbers[name]]) for name in wanted)


def _split_file(folder: Path, number: int) -> Path:
    """Names of splits may hold anything, so files are numbered."""
    return folder / f"{number}.jsonl"


class _Progress:
    """Counts the cells that were read."""

    def __init__(self, total: int, monitor: Monitor) -> None:
        self._done, self._total = 0, total
        self._monitor = monitor

    def check(self) -> None:
        """Raise if the work should stop."""
        self._monitor.check()

    def add(self, cells: int) -> None:
        """Tell of some more cells."""
        self._done += cells
        self._monitor.report(self._done, self._total, "cells", _COUNTING)


def _groups(columns: Sequence[Column], rows: int) -> Iterator[Sequence[Column]]:
    """As many columns at a time as may be counted together."""
    kept = max(1, min(rows, _MOST_VALUES_KEPT)) * _BYTES_A_VALUE
    size = max(1, min(_MOST_COLUMNS, _MEMORY_BYTES // kept))
    for start in range(0, len(columns), size):
        yield columns[start : start + size]


def _figures(
    dataset: Path, split: SplitInfo, columns: Sequence[Column], hasher: Hasher, progress: _Progress
) -> Iterator[ColumnStatistics]:
    figures = [ColumnFigures(column, split.rows, hasher) for column in columns]
    for batch in Rows(dataset, split, [column.name for column in columns]).batches(_BATCH_BYTES):
        for each, array in zip(figures, batch.rows.columns, strict=True):
            progress.check()
            each.add(array)
            progress.add(len(array))
    for each in figures:
        yield _finished(dataset, split, each, progress)


def _finished(dataset: Path, split: SplitInfo, figures: ColumnFigures, progress: _Progress) -> ColumnStatistics:
    """The result; where it takes a second look at the numbers, only now that their bounds are known."""
    histogram = figures.empty_histogram()
    if histogram is not None:
        for batch in Rows(dataset, split, [figures.column.name]).batches(_BATCH_BYTES):
            progress.check()
            figures.fill(histogram, batch.rows.column(0))
    return figures.result(histogram)

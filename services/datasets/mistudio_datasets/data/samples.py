"""Pages of rows, from any row on, through Parquet footers and row groups."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_datasets.data.cells import CellCutter
from mistudio_datasets.data.parquet_files import open_parquet
from mistudio_datasets.domain.datasets import Layout
from mistudio_servicekit.errors import MalformedFile
from mistudio_servicekit.storage import confined

CELL_BYTES = 16 << 10
"""A bigger cell is cut."""

_BATCH_ROWS = 1000
_CACHED_FOOTERS = 256


@dataclass(frozen=True)
class CutCell:
    """A cell that was cut: its column, and the bytes of the whole."""

    column: str
    size_bytes: int


@dataclass(frozen=True)
class SampleRow:
    """A row: its number in the split from 0, JSON-ready values by column, and which of them were cut."""

    row: int
    values: dict[str, Any]
    cut_cells: tuple[CutCell, ...]


@dataclass(frozen=True)
class SamplePage:
    """Rows in order, and the rows of the whole split. Fewer rows than asked for mean the budget or the end."""

    rows: tuple[SampleRow, ...]
    total_rows: int


def read_rows(folder: Path, layout: Layout, split: str, offset: int, limit: int, byte_budget: int) -> SamplePage:
    """Up to `limit` rows of `split` (empty: the only one, or `train`) from row `offset` on.

    The page stays within `byte_budget` bytes, and holds at least one row when there is one.

    Args:
        folder: the dataset's epoch folder.
        layout: where its rows lie.
        split: name of the split.
        offset: first row, from 0.
        limit: most rows in the page.
        byte_budget: most bytes in the page.

    Raises:
        SplitNotFound: no such split.
        MalformedFile: the file's pages are broken.
    """
    info = layout.split(split)
    cell_bytes = min(CELL_BYTES, max(64, byte_budget // max(1, len(layout.columns))))
    rows: list[SampleRow] = []
    used = 0
    for number, values in enumerate(_values(folder, info.files, info.file_rows, offset, limit), offset):
        row, size = _sample(number, values, cell_bytes)
        if rows and used + size > byte_budget:
            break
        rows.append(row)
        used += size
    return SamplePage(tuple(rows), info.rows)


def _sample(number: int, values: dict[str, Any], cell_bytes: int) -> tuple[SampleRow, int]:
    shown, cut, used = {}, [], 0
    for column, value in values.items():
        cutter = CellCutter(cell_bytes)
        shown[column] = cutter.value(value)
        used += min(cutter.size_bytes, cell_bytes) + len(column)
        if cutter.is_cut:
            cut.append(CutCell(column, cutter.size_bytes))
    return SampleRow(number, shown, tuple(cut)), used


def _values(
    folder: Path, files: tuple[str, ...], file_rows: tuple[int, ...], offset: int, limit: int
) -> Iterator[dict[str, Any]]:
    left = limit
    for name, rows in zip(files, file_rows, strict=True):
        if offset < rows and left > 0:
            for batch in _batches(confined(folder, name), name, offset, min(left, rows - offset)):
                left -= batch.num_rows
                for at in range(batch.num_rows):
                    yield {column: batch.column(column)[at].as_py() for column in batch.schema.names}
        offset = max(0, offset - rows)


@dataclass(frozen=True)
class _Footer:
    metadata: pq.FileMetaData
    starts: list[int]


@lru_cache(maxsize=_CACHED_FOOTERS)
def _footer(path: Path, name: str) -> _Footer:
    """Files of a complete dataset never change, so a footer is read once."""
    metadata = open_parquet(path, name).metadata
    sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return _Footer(metadata, list(accumulate(sizes, initial=0)))


def _batches(path: Path, name: str, offset: int, limit: int) -> Iterator[pa.RecordBatch]:
    footer = _footer(path, name)
    first = bisect_right(footer.starts, offset) - 1
    skip = offset - footer.starts[first]
    groups = range(first, footer.metadata.num_row_groups)
    file = pq.ParquetFile(path, metadata=footer.metadata, memory_map=True)
    try:
        for batch in file.iter_batches(
            min(_BATCH_ROWS, skip + limit), row_groups=_enough(footer, groups, skip + limit)
        ):
            kept = batch.slice(min(skip, batch.num_rows), limit)
            skip = max(0, skip - batch.num_rows)
            limit -= kept.num_rows
            if kept.num_rows:
                yield kept
            if limit == 0:
                return
    except (pa.ArrowInvalid, OSError) as error:
        raise MalformedFile(
            f"{name} is broken beyond its footer: {str(error).splitlines()[0].rstrip('.')}",
            next_step="Bring the dataset in again",
            metadata={"file": name},
        ) from error


def _enough(footer: _Footer, groups: range, rows: int) -> list[int]:
    """As many of `groups` as hold `rows` rows."""
    end = bisect_right(footer.starts, footer.starts[groups.start] + rows - 1)
    return list(groups)[: max(1, end - groups.start)]

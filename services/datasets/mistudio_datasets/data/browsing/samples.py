"""Pages of rows as JSON-ready samples: from any row on, or those that a query found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from mistudio_datasets.data.browsing.cells import CellCutter
from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.browsing.query_search import TextSearch
from mistudio_datasets.data.browsing.query_snippets import Snippet, snippets
from mistudio_datasets.data.browsing.row_values import RowBatch, read_values
from mistudio_datasets.domain.datasets import Layout, SplitInfo
from mistudio_servicekit.errors import MalformedFile

CELL_BYTES = 16 << 10
"""A bigger cell is cut."""

_RANKED_ROWS = 100
"""Rows out of order are read in blocks of so many, whose cut cells are held in memory together."""

_BLOCK_ROWS = 16
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class CutCell:
    """A cell that was cut: its column, and the bytes of the whole."""

    column: str
    size_bytes: int


@dataclass(frozen=True)
class SampleRow:
    """A row of a split.

    Attributes:
        row: its number in the split, from 0.
        values: JSON-ready values by column.
        cut_cells: which of them were cut.
        snippets: where a search found something, at most one for each column.
        score: how well it matches a search for words; higher is better.
    """

    row: int
    values: dict[str, Any]
    cut_cells: tuple[CutCell, ...]
    snippets: tuple[Snippet, ...] = ()
    score: float = 0.0


@dataclass(frozen=True)
class SamplePage:
    """Rows in order, and the rows of the whole split. Fewer rows than asked for mean the budget or the end."""

    rows: tuple[SampleRow, ...]
    total_rows: int


def read_rows(
    engine: QueryEngine, folder: Path, layout: Layout, split: str, offset: int, limit: int, byte_budget: int
) -> SamplePage:
    """Up to `limit` rows of `split` (empty: the only one, or `train`) from row `offset` on.

    The page stays within `byte_budget` bytes, and holds at least one row when there is one.

    Args:
        engine: reads what lies far inside a file.
        folder: the dataset's epoch folder.
        layout: where its rows lie.
        split: name of the split.
        offset: first row, from 0.
        limit: most rows in the page.
        byte_budget: most bytes in the page.

    Raises:
        SplitNotFound: no such split.
        FileNotFoundError: the dataset is gone.
        MalformedFile: the file's pages are broken.
    """
    info = layout.split(split)
    rows = range(offset, min(offset + limit, info.rows))
    return SamplePage(read_samples(engine, folder, layout, info, rows, byte_budget), info.rows)


def read_samples(
    engine: QueryEngine,
    folder: Path,
    layout: Layout,
    split: SplitInfo,
    rows: Sequence[int],
    byte_budget: int,
    *,
    search: TextSearch | None = None,
    scores: Sequence[float] = (),
) -> tuple[SampleRow, ...]:
    """The samples of `rows`, in their order, as many as `byte_budget` holds and one at least.

    Args:
        engine: reads what lies far inside a file.
        folder: the dataset's epoch folder.
        layout: where its rows lie.
        split: the split of the rows.
        rows: numbers of existing rows, in any order.
        byte_budget: most bytes in the page.
        search: what `snippets` shall show.
        scores: of the rows, in the same order; none for 0.

    Raises:
        FileNotFoundError, MalformedFile: as `read_rows`.
    """
    cell_bytes = min(CELL_BYTES, max(64, byte_budget // max(1, len(layout.columns))))
    page: list[SampleRow] = []
    used = 0
    reading = _Reading(engine, folder, split, search, cell_bytes)
    for number, (row, size) in enumerate(reading.in_order(rows)):
        if page and used + size > byte_budget:
            break
        page.append(replace(row, score=scores[number]) if scores else row)
        used += size
    return tuple(page)


@dataclass(frozen=True)
class _Reading:
    engine: QueryEngine
    folder: Path
    split: SplitInfo
    search: TextSearch | None
    cell_bytes: int

    def in_order(self, rows: Sequence[int]) -> Iterator[tuple[SampleRow, int]]:
        """Samples and their bytes, in the order of `rows`."""
        is_ascending = all(left < right for left, right in pairwise(rows))
        if is_ascending:
            yield from self._ascending(rows)
            return
        for first in range(0, len(rows), _RANKED_ROWS):
            block = rows[first : first + _RANKED_ROWS]
            found = {sample[0].row: sample for sample in self._ascending(sorted(block))}
            yield from (found[row] for row in block)

    def _ascending(self, rows: Sequence[int]) -> Iterator[tuple[SampleRow, int]]:
        for batch in read_values(self.engine, self.folder, self.split, rows):
            found = zip(batch.numbers, values_of(batch.values), self._snippets(batch), strict=True)
            for number, values, shown in found:
                yield sample(number, values, self.cell_bytes, shown)

    def _snippets(self, batch: RowBatch) -> list[tuple[Snippet, ...]]:
        if self.search is None:
            return [()] * len(batch.numbers)
        by_column = [
            snippets(self.engine, self.search, column, _texts(batch.values.column(column)))
            for column in self.search.columns
        ]
        return [tuple(snippet for snippet in of_row if snippet) for of_row in zip(*by_column, strict=True)]


def _texts(column: pa.Array[Any]) -> list[str | None]:
    return [None if value is None else str(value) for value in as_python(column)]


def as_python(column: pa.Array[Any]) -> list[Any]:
    """The values of a column; raises `MalformedFile` where its text is no UTF-8."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError as error:
        raise MalformedFile(
            f"A text of the split is no UTF-8: {error.reason}", next_step="Bring the dataset in again as UTF-8"
        ) from error


def values_of(rows: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The whole values of each row by column; few rows are in memory as Python objects at a time, of big ones one."""
    names = rows.schema.names
    for block in _blocks(rows):
        columns = [as_python(column) for column in block.columns]
        for at in range(block.num_rows):
            yield dict(zip(names, [column[at] for column in columns], strict=True))


def _blocks(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Slices of rows: values are taken column by column, which costs as much for some rows as for one."""
    for first in range(0, rows.num_rows, _BLOCK_ROWS):
        block = rows.slice(first, _BLOCK_ROWS)
        if block.nbytes <= _BLOCK_BYTES:
            yield block
        else:
            yield from (block.slice(at, 1) for at in range(block.num_rows))


def sample(
    number: int, values: Mapping[str, Any], cell_bytes: int, shown: tuple[Snippet, ...] = ()
) -> tuple[SampleRow, int]:
    """A row with its cells cut to `cell_bytes` each, and the bytes it takes."""
    cells, cut, used = {}, [], 0
    for column, value in values.items():
        cells[column], size, is_cut = _cut(value, cell_bytes)
        used += min(size, cell_bytes) + len(column)
        if is_cut:
            cut.append(CutCell(column, size))
    used += sum(len(snippet.text.encode()) for snippet in shown)
    return SampleRow(number, cells, tuple(cut), shown), used


def _cut(value: Any, cell_bytes: int) -> tuple[Any, int, bool]:
    """The JSON-ready form of a cell, the bytes of the whole, and whether it was cut."""
    if isinstance(value, str) and len(value) <= cell_bytes and value.isascii():
        return value, len(value), False  # most cells by far
    cutter = CellCutter(cell_bytes)
    return cutter.value(value), cutter.size_bytes, cutter.is_cut

"""Whole values of single rows, by row number, whichever way reads them faster.

`pyarrow` reads a row group from its beginning, which is quick for small ones. DuckDB leaps over pages, which is quick
where the rows lie far inside a row group or in many. Both give the same values: columns whose types DuckDB would change
are left to `pyarrow`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_datasets.data.browsing.parquet_footer_cache import CachedFooter, cached_footer
from mistudio_datasets.data.browsing.query_engine import QueryEngine, Stop, literal_paths
from mistudio_datasets.data.incoming.parquet_files import readable_pages
from mistudio_datasets.domain.datasets import SplitInfo
from mistudio_servicekit.storage import confined

_BATCH_ROWS = 1000
_BATCH_BYTES = 16 << 20
_FAR_ROWS = 30_000
"""From here on DuckDB is faster than decoding all rows before (see `benchmarks/search.py`)."""

_ENGINE_BYTES = 64 << 20
"""Most bytes to be expected of an answer that DuckDB may make at once."""


@dataclass(frozen=True)
class RowBatch:
    """Rows: their numbers in the split, ascending, and all their columns."""

    numbers: tuple[int, ...]
    values: pa.RecordBatch


def read_values(engine: QueryEngine, folder: Path, split: SplitInfo, rows: Sequence[int]) -> Iterator[RowBatch]:
    """The values of `rows`, which are ascending and exist.

    Raises:
        FileNotFoundError: a file is gone.
        MalformedFile: a file's pages are broken.
    """
    starts = list(accumulate(split.file_rows, initial=0))
    for file, numbers in groupby(rows, lambda row: bisect_right(starts, row) - 1):
        base, name = starts[file], split.files[file]
        for batch in _of_file(engine, confined(folder, name), name, [row - base for row in numbers]):
            yield RowBatch(tuple(base + row for row in batch.numbers), batch.values)


def read_cell(folder: Path, split: SplitInfo, row: int, columns: list[str] | None) -> pa.RecordBatch:
    """The whole values of one row in `columns`, or in all of the file if there are none.

    Holds no more than these cells and their pages in memory.

    Raises:
        FileNotFoundError, MalformedFile: as `read_values`.
    """
    starts = list(accumulate(split.file_rows, initial=0))
    file = bisect_right(starts, row) - 1
    name = split.files[file]
    path = confined(folder, name)
    return next(_decoded(path, name, cached_footer(path, name), [row - starts[file]], columns)).values


def _of_file(engine: QueryEngine, path: Path, name: str, rows: list[int]) -> Iterator[RowBatch]:
    footer = cached_footer(path, name)
    if _decoded_rows(footer, rows) > _FAR_ROWS and _expected_bytes(footer, rows) < _ENGINE_BYTES and footer.is_exact:
        yield _leapt_to(engine, path, footer, rows)
    else:
        yield from _decoded(path, name, footer, rows, None)


def _group_of(footer: CachedFooter, row: int) -> int:
    return bisect_right(footer.starts, row) - 1


def _decoded_rows(footer: CachedFooter, rows: Sequence[int]) -> int:
    """Rows that would be decoded to reach `rows`."""
    last_of_group = {_group_of(footer, row): row for row in rows}
    return sum(row + 1 - footer.starts[group] for group, row in last_of_group.items())


def _row_bytes(footer: CachedFooter, group: int) -> int:
    return footer.group_bytes[group] // max(1, footer.starts[group + 1] - footer.starts[group])


def _expected_bytes(footer: CachedFooter, rows: Sequence[int]) -> int:
    return sum(_row_bytes(footer, _group_of(footer, row)) for row in rows)


def _leapt_to(engine: QueryEngine, path: Path, footer: CachedFooter, rows: list[int]) -> RowBatch:
    wanted = f"file_row_number BETWEEN {rows[0]:d} AND {rows[-1]:d}"
    if rows[-1] - rows[0] >= len(rows):
        wanted += f" AND file_row_number IN ({', '.join(f'{row:d}' for row in rows)})"
    aliases = ", ".join(f"c{number}" for number in range(len(footer.schema)))
    source = f"read_parquet($files, hive_partitioning = false) AS t({aliases})"
    sql = f"SELECT * FROM {source} WHERE {wanted}"  # noqa: S608  # numbers only
    table = engine.table(sql, {"files": literal_paths([path])}, Stop())
    columns = [column.cast(field.type) for column, field in zip(table.columns, footer.schema, strict=True)]
    (batch,) = pa.table(columns, schema=footer.schema).combine_chunks().to_batches()
    return RowBatch(tuple(rows), batch)


def _decoded(
    path: Path, name: str, footer: CachedFooter, rows: Sequence[int], columns: list[str] | None
) -> Iterator[RowBatch]:
    file = pq.ParquetFile(path, metadata=footer.metadata, memory_map=True)
    with readable_pages(name):
        for group, numbers in groupby(rows, lambda row: _group_of(footer, row)):
            yield from _of_group(file, footer, group, list(numbers), columns)


def _of_group(
    file: pq.ParquetFile, footer: CachedFooter, group: int, rows: list[int], columns: list[str] | None
) -> Iterator[RowBatch]:
    """Batches are small where rows are big: those before the wanted ones pass through memory as well."""
    begin = footer.starts[group]
    fitting = max(1, _BATCH_BYTES // max(1, _row_bytes(footer, group)))
    size = min(_BATCH_ROWS, fitting, rows[-1] + 1 - begin)
    at = 0
    for batch in file.iter_batches(size, row_groups=[group], columns=columns):
        end = bisect_right(rows, begin + batch.num_rows - 1, lo=at)
        if end > at:
            yield RowBatch(tuple(rows[at:end]), _taken(batch, [row - begin for row in rows[at:end]]))
        at, begin = end, begin + batch.num_rows
        if at == len(rows):
            return


def _taken(batch: pa.RecordBatch, rows: Sequence[int]) -> pa.RecordBatch:
    if rows[-1] - rows[0] == len(rows) - 1:
        return batch.slice(rows[0], len(rows))
    return batch.take(np.array(rows, np.int64))

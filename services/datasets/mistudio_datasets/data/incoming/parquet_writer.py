"""Parquet files with small row groups, so that any page of rows is read fast."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, NotRequired, Self, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 2000
ROW_GROUP_BYTES = 8 << 20
_FILE_BYTES = 512 << 20
_MANY_COLUMNS = 1000
_HUGE_BYTES = 32 << 20
"""Of a row group, which then holds a huge cell: the least and greatest value of it are copies, several times over."""


class _Compression(TypedDict):
    compression: Literal["snappy", "zstd"]
    compression_level: NotRequired[int]


def row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of `tables` in tables for a row group each, neither with too many rows nor too large."""
    pending: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        at = 0
        while at < table.num_rows:
            pending.append(table.slice(at, ROW_GROUP_ROWS - rows))
            at += pending[-1].num_rows
            rows += pending[-1].num_rows
            size += pending[-1].nbytes
            if rows == ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                yield pa.concat_tables(pending)
                pending, rows, size = [], 0, 0
    if pending:
        yield pa.concat_tables(pending)


class RowsWriter:
    """Writes the tables of one split as `part-00000.parquet` and on, each table as one row group."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._files: list[Path] = []
        self._rows: list[int] = []
        self._writer: pq.ParquetWriter | None = None
        self._has_statistics = True
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self._begin_file()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_file()

    @property
    def files(self) -> list[Path]:
        """The files, in row order; one at least, even without rows."""
        return self._files

    @property
    def file_rows(self) -> list[int]:
        """Rows of each file."""
        return self._rows

    def write(self, table: pa.Table) -> None:
        """Append `table` as one row group; from the first huge one on, files have no statistics."""
        must_do_without = self._has_statistics and table.nbytes > _HUGE_BYTES
        if must_do_without or self._files[-1].stat().st_size > _FILE_BYTES:
            self._has_statistics &= not must_do_without
            self._end_file()
            self._begin_file()
        assert self._writer is not None
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._rows[-1] += table.num_rows

    def _begin_file(self) -> None:
        if self._rows and self._rows[-1] == 0:  # written anew in the other way
            del self._files[-1], self._rows[-1]
        path = self._folder / f"part-{len(self._files):05d}.parquet"
        self._files.append(path)
        self._rows.append(0)
        self._writer = pq.ParquetWriter(
            path, self._schema, write_statistics=self._has_statistics, **_compression(self._schema)
        )

    def _end_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _compression(schema: pa.Schema) -> _Compression:
    """For very many columns one that needs no preparation: each has little to compress, and is read on its own."""
    if len(schema) > _MANY_COLUMNS:
        return {"compression": "snappy"}
    return {"compression": "zstd", "compression_level": 1}

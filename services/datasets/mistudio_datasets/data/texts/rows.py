"""Some columns of a split's rows, batch by batch, straight from the Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_datasets.data.incoming.parquet_files import open_parquet
from mistudio_datasets.data.incoming.schema import is_text
from mistudio_datasets.domain.datasets import SplitInfo
from mistudio_servicekit.errors import MalformedFile
from mistudio_servicekit.storage import confined

_MAX_BATCH_ROWS = 8192
_FEW_BYTES = 4 << 20
_SAMPLE_ROWS = 256
_SAMPLE_PLACES = 8


@dataclass(frozen=True)
class RowBatch:
    """Rows in order; `bytes` is their share of `Rows.bytes`."""

    rows: pa.RecordBatch
    bytes: float


@dataclass(frozen=True)
class _RowGroup:
    file: Path
    name: str
    index: int
    rows: int
    bytes: int
    footer: pq.FileMetaData


class Rows:
    """Columns of one split; text is read as `string`, whatever the files keep it as.

    Attributes:
        count: rows in it.
        bytes: size of the columns' uncompressed chunks, from the footers.
    """

    def __init__(self, folder: Path, split: SplitInfo, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._groups = [group for name in split.files for group in _row_groups(folder, name, columns)]
        self.count = sum(group.rows for group in self._groups)
        self.bytes = sum(group.bytes for group in self._groups)

    def sample(self) -> Iterator[pa.RecordBatch]:
        """A few hundred rows in all, from places spread evenly over the split."""
        step = max(1, len(self._groups) // _SAMPLE_PLACES)
        places = self._groups[::step][:_SAMPLE_PLACES]
        for group in places:
            yield next(_read(group, self._columns, _SAMPLE_ROWS // len(places)))

    def batches(self, batch_bytes: int) -> Iterator[RowBatch]:
        """All rows in order, in batches of about `batch_bytes`; the same batches every time."""
        held: list[RowBatch] = []
        for batch in self._small_batches(batch_bytes):
            if held and not held[0].rows.schema.equals(batch.rows.schema):  # files may differ inside of lists
                yield _joined(held)
                held = []
            held.append(batch)
            if sum(part.rows.nbytes for part in held) >= batch_bytes:
                yield _joined(held)
                held = []
        if held:
            yield _joined(held)

    def _small_batches(self, batch_bytes: int) -> Iterator[RowBatch]:
        for group in self._groups:
            for rows in _read(group, self._columns, _rows_within(group, batch_bytes)):
                share = group.bytes * len(rows) / group.rows
                for part in _halved(rows, batch_bytes):
                    yield RowBatch(part, share * len(part) / len(rows))


def few_rows(
    folder: Path, split: SplitInfo, columns: Sequence[str], offset: int, limit: int
) -> Iterator[pa.RecordBatch]:
    """Up to `limit` rows from row `offset` of the split on; only files that hold them are opened."""
    first = 0
    for name, rows in zip(split.files, split.file_rows, strict=True):
        if first < offset + limit and offset < first + rows:
            for group in _row_groups(folder, name, columns):
                yield from _slices(group, columns, offset - first, limit)
                first += group.rows
        else:
            first += rows


def _slices(group: _RowGroup, columns: Sequence[str], offset: int, limit: int) -> Iterator[pa.RecordBatch]:
    """What of `group` lies in the `limit` rows from its row `offset` on, which may lie before or behind it."""
    first = 0
    if group.rows <= offset or offset + limit <= 0:
        return
    for rows in _read(group, columns, _rows_within(group, _FEW_BYTES)):
        start, end = max(offset - first, 0), min(offset + limit - first, len(rows))
        if start < end:
            yield rows.slice(start, end - start)
        first += len(rows)
        if first >= offset + limit:
            return


def _rows_within(group: _RowGroup, batch_bytes: int) -> int:
    return max(1, min(_MAX_BATCH_ROWS, batch_bytes * group.rows // max(1, group.bytes)))


def _read(group: _RowGroup, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
    file = pq.ParquetFile(group.file, metadata=group.footer, memory_map=True)
    try:
        for batch in file.iter_batches(rows, row_groups=[group.index], columns=list(columns)):
            arrays = [_plain(batch.column(column)) for column in columns]
            yield pa.RecordBatch.from_arrays(arrays, list(columns))
    except (pa.ArrowInvalid, OSError) as error:
        raise MalformedFile(
            f"{group.name} is broken in row group {group.index}: {str(error).splitlines()[0].rstrip('.')}",
            next_step="Bring the dataset in again",
            metadata={"file": group.name},
        ) from error


def _plain(column: pa.Array[Any]) -> pa.Array[Any]:
    return column.cast(pa.string()) if is_text(column.type) else column


def _row_groups(folder: Path, name: str, columns: Sequence[str]) -> Iterator[_RowGroup]:
    path = confined(folder, name)
    metadata = open_parquet(path, name).metadata
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if group.num_rows:
            yield _RowGroup(path, name, index, group.num_rows, _column_bytes(group, columns), metadata)


def _column_bytes(group: Any, columns: Sequence[str]) -> int:
    """Bytes of the columns; those with parts keep each in a chunk of its own."""
    # Looked up together: there may be ten thousand chunks, and hundreds of columns.
    whole, parts = set(columns), tuple(f"{name}." for name in columns)
    chunks = (group.column(index) for index in range(group.num_columns))
    return sum(
        int(chunk.total_uncompressed_size)
        for chunk in chunks
        if chunk.path_in_schema in whole or chunk.path_in_schema.startswith(parts)
    )


def _halved(rows: pa.RecordBatch, batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Parts of at most twice `batch_bytes`, one row at least: dictionary-encoded rows may unpack to a lot."""
    if len(rows) <= 1 or rows.nbytes <= 2 * batch_bytes:
        yield rows
        return
    middle = len(rows) // 2
    yield from _halved(rows.slice(0, middle), batch_bytes)
    yield from _halved(rows.slice(middle), batch_bytes)


def _concatenated(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    (whole,) = pa.Table.from_batches(parts).combine_chunks().to_batches()
    return whole


def _joined(parts: list[RowBatch]) -> RowBatch:
    rows = parts[0].rows if len(parts) == 1 else _concatenated([part.rows for part in parts])
    return RowBatch(rows, sum(part.bytes for part in parts))

"""Row-wise source files become Parquet: one pass finds the schema over all rows, a second writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pyarrow as pa

from mistudio_datasets.data.incoming.parquet_writer import ROW_GROUP_BYTES, ROW_GROUP_ROWS, RowsWriter, row_groups
from mistudio_datasets.data.incoming.records import DamagedRecord, DamageLog, Expected, Reader, Row
from mistudio_datasets.data.incoming.row_columns import FieldColumns, RowColumns, ValueColumns
from mistudio_datasets.data.incoming.shapes import Shape
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.data.incoming.streams import SourceFile
from mistudio_datasets.domain.datasets import DataFormat, SplitInfo
from mistudio_datasets.domain.progress import Monitor
from mistudio_servicekit.errors import DatasetEmpty, MalformedFile

SCANNING, CONVERTING = "scanning", "converting"
"""The two passes over the source files: one finds the schema, the other writes the rows."""

PASSES = (SCANNING, CONVERTING)

MAX_COLUMNS = 10_000

_ROWS_PER_CHECK = 500


@dataclass(frozen=True)
class Converted:
    """The outcome: splits whose files are relative to the folder, their schema, what was set aside."""

    splits: tuple[SplitInfo, ...]
    schema: pa.Schema
    damage: DamageLog


def convert(
    sources: Mapping[str, Sequence[Source]], read: Reader, format: DataFormat, folder: Path, monitor: Monitor
) -> Converted:
    """Write `folder/rows/<split>/*.parquet` from the files of each split, and `folder/damaged.jsonl` if need be.

    Memory is bounded by a row group. Progress is in bytes read, which in the end is the size of the source
    files once for each pass.

    Raises:
        DatasetEmpty: the files hold no records.
        MalformedFile: none of the records can be read, or a compressed stream is broken.
    """
    columns = FieldColumns() if format is DataFormat.CSV else ValueColumns()
    with DamageLog(folder) as damage:
        _scan(sources, read, columns, damage, _Meter(sources, SCANNING, monitor))
    if not columns.shape.fields:
        raise _nothing_to_read(sources, damage)
    schema = columns.shape.schema()
    rows = _Rows(read, columns, schema, _Meter(sources, CONVERTING, monitor))
    splits = tuple(_write(split, files, rows, folder) for split, files in sources.items())
    return Converted(splits, schema, damage)


def split_info(name: str, writer: RowsWriter, folder: Path) -> SplitInfo:
    """The split that `writer` wrote, with files relative to `folder`."""
    return SplitInfo(
        name=name,
        rows=sum(writer.file_rows),
        bytes=sum(file.stat().st_size for file in writer.files),
        files=tuple(file.relative_to(folder).as_posix() for file in writer.files),
        file_rows=tuple(writer.file_rows),
    )


class _Meter:
    """Progress of one pass over all files of all splits."""

    def __init__(self, sources: Mapping[str, Sequence[Source]], stage: str, monitor: Monitor) -> None:
        once = sum(source.size_bytes for files in sources.values() for source in files)
        self._total = len(PASSES) * once
        self._finished = PASSES.index(stage) * once
        self._stage = stage
        self._monitor = monitor
        self._rows = 0

    def records(self, source: Source, read: Reader, expected: Expected) -> Iterator[Row | DamagedRecord | pa.Table]:
        """The records of `source`, with progress and a check for a stop at every table and every few hundred others."""
        with SourceFile(source) as file:
            for number, record in enumerate(read(file, expected)):
                if number % _ROWS_PER_CHECK == 0 or isinstance(record, pa.Table):
                    self._report(self._finished + file.position)
                self._rows += record.num_rows if isinstance(record, pa.Table) else 1
                yield record
        self._finished += source.size_bytes
        self._report(self._finished)

    def _report(self, done: int) -> None:
        self._monitor.check()
        self._monitor.report(done, self._total, "bytes", self._stage, {"rows": float(self._rows)})


def _scan(
    sources: Mapping[str, Sequence[Source]], read: Reader, columns: RowColumns, damage: DamageLog, meter: _Meter
) -> None:
    for files in sources.values():
        for source in files:
            for record in meter.records(source, read, columns.shape.schema):
                if isinstance(record, DamagedRecord):
                    damage.add(record)
                else:
                    columns.observe(record)
                    _require_few_columns(columns.shape, source)


def _require_few_columns(shape: Shape, source: Source) -> None:
    if len(shape.fields) > MAX_COLUMNS:
        raise MalformedFile(
            f"{source.name} has more than {MAX_COLUMNS:,} columns, if each key is one",
            next_step="Put the keys into an object of their own: more than a thousand different ones become JSON text",
            metadata={"file": source.name},
        )


def _nothing_to_read(sources: Mapping[str, Sequence[Source]], damage: DamageLog) -> Exception:
    names = ", ".join(source.name for files in sources.values() for source in files)
    if damage.count == 0:
        return DatasetEmpty(f"{names} holds no rows", next_step="Bring in a file that holds rows")
    first = damage.first[0]
    return MalformedFile(
        f"None of the {damage.count:,} records of {names} can be read; line {first.line} is {first.reason}",
        next_step="Name the right format, or mend the file",
        metadata={"line": str(first.line), "reason": first.reason},
    )


@dataclass(frozen=True)
class _Rows:
    """Reads files as tables of the schema that the scan found."""

    read: Reader
    columns: RowColumns
    schema: pa.Schema
    meter: _Meter

    def tables(self, files: Sequence[Source]) -> Iterator[pa.Table]:
        """All rows in order: those that came in tables, and the others in tables of a row group at most."""
        rows: list[Row] = []
        size = 0
        for record in self._records(files):
            if not isinstance(record, pa.Table):
                rows.append(record)
                size += _text_bytes(record)
            if rows and (isinstance(record, pa.Table) or len(rows) >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES):
                yield self.columns.table(rows, self.schema)
                rows, size = [], 0
            if isinstance(record, pa.Table):
                yield self.columns.fitted(record, self.schema)
        if rows:
            yield self.columns.table(rows, self.schema)

    def _records(self, files: Sequence[Source]) -> Iterator[Row | pa.Table]:
        for source in files:
            for record in self.meter.records(source, self.read, lambda: self.schema):
                if not isinstance(record, DamagedRecord):
                    yield record


def _write(split: str, files: Sequence[Source], rows: _Rows, folder: Path) -> SplitInfo:
    with RowsWriter(folder / "rows" / split, rows.schema) as writer:
        for table in row_groups(rows.tables(files)):
            writer.write(table)
    return split_info(split, writer, folder)


def _text_bytes(value: object) -> int:
    """Roughly the memory of a value: characters of its texts, a few bytes for all else."""
    kind = type(value)
    if kind is str:
        return len(cast(str, value))
    if kind is dict:
        return sum(map(_text_bytes, cast("dict[str, object]", value).values()))
    return sum(map(_text_bytes, cast("list[object]", value))) if kind is list else 8

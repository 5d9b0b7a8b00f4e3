"""Row-wise source files become Parquet: one pass finds the schema over all rows, a second writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from mistudio_datasets.data.incoming.csv_rows import typed_field
from mistudio_datasets.data.incoming.parquet_writer import ROW_GROUP_BYTES, ROW_GROUP_ROWS, RowsWriter, row_groups
from mistudio_datasets.data.incoming.records import DamagedRecord, DamageLog, Expected, Reader, Row
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
    is_typed = format is not DataFormat.CSV
    with DamageLog(folder) as damage:
        shape = _scan(sources, read, damage, is_typed, _Meter(sources, SCANNING, monitor))
    if not shape.fields:
        raise _nothing_to_read(sources, damage)
    columns = _Columns(shape, is_typed)
    meter = _Meter(sources, CONVERTING, monitor)
    splits = tuple(_write(split, files, read, columns, folder, meter) for split, files in sources.items())
    return Converted(splits, columns.schema, damage)


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
    sources: Mapping[str, Sequence[Source]], read: Reader, damage: DamageLog, is_typed: bool, meter: _Meter
) -> Shape:
    shape, texts = Shape(), set[str]()
    for files in sources.values():
        for source in files:
            for record in meter.records(source, read, shape.schema):
                if isinstance(record, DamagedRecord):
                    damage.add(record)
                elif isinstance(record, pa.Table):
                    shape.observe_rows(record)
                else:
                    shape.observe(record if is_typed else _typed(record, texts))
                    _require_few_columns(shape, source)
    return shape


def _require_few_columns(shape: Shape, source: Source) -> None:
    if len(shape.fields) > MAX_COLUMNS:
        raise MalformedFile(
            f"{source.name} has more than {MAX_COLUMNS:,} columns, if each key is one",
            next_step="Put the keys into an object of their own: more than a thousand different ones become JSON text",
            metadata={"file": source.name},
        )


def _typed(fields: Row, texts: set[str]) -> dict[str, Any]:
    """The fields as the values they would be; a column that has been text once stays in `texts`."""
    typed = {}
    for name, field in fields.items():
        typed[name] = field if field is None or name in texts else typed_field(field)
        if isinstance(typed[name], str):
            texts.add(name)
    return typed


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


class _Columns:
    """Turns rows into tables of the schema that the scan found."""

    def __init__(self, shape: Shape, is_typed: bool) -> None:
        self._shape = shape
        self._is_typed = is_typed
        self.schema = shape.schema()

    def table(self, rows: list[Row]) -> pa.Table:
        """One table with these rows."""
        arrays = [
            self._column(field, shape, rows)
            for field, shape in zip(self.schema, self._shape.fields.values(), strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _column(self, field: pa.Field[Any], shape: Shape, rows: list[Row]) -> pa.Array[Any]:
        values = [row.get(field.name) for row in rows]
        if not self._is_typed and not pa.types.is_string(field.type):
            values = [None if value is None else typed_field(value) for value in values]
        return shape.fit_all(values) if self._is_typed else pa.array(values, field.type)


def _write(
    split: str, files: Sequence[Source], read: Reader, columns: _Columns, folder: Path, meter: _Meter
) -> SplitInfo:
    with RowsWriter(folder / "rows" / split, columns.schema) as writer:
        for table in row_groups(_tables(files, read, columns, meter)):
            writer.write(table)
    return split_info(split, writer, folder)


def _tables(files: Sequence[Source], read: Reader, columns: _Columns, meter: _Meter) -> Iterator[pa.Table]:
    """All rows in order: those that came in tables, and the others in tables of a row group at most."""
    rows: list[Row] = []
    size = 0
    for source in files:
        for record in meter.records(source, read, lambda: columns.schema):
            if isinstance(record, DamagedRecord):
                continue
            if not isinstance(record, pa.Table):
                rows.append(record)
                size += _text_bytes(record)
            if rows and (isinstance(record, pa.Table) or len(rows) >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES):
                yield columns.table(rows)
                rows, size = [], 0
            if isinstance(record, pa.Table):
                yield record
    if rows:
        yield columns.table(rows)


def _text_bytes(value: object) -> int:
    """Roughly the memory of a value: characters of its texts, a few bytes for all else."""
    kind = type(value)
    if kind is str:
        return len(cast(str, value))
    if kind is dict:
        return sum(map(_text_bytes, cast("dict[str, object]", value).values()))
    return sum(map(_text_bytes, cast("list[object]", value))) if kind is list else 8

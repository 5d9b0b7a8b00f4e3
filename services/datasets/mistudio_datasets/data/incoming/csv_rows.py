"""CSV files: the dialect is found out, ragged and undecodable records are set aside."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import pyarrow as pa

from mistudio_datasets.data.incoming.csv_blocks import Dialect, parse_csv, whole_records
from mistudio_datasets.data.incoming.line_blocks import FastPath, LineBlocks
from mistudio_datasets.data.incoming.records import DamagedRecord, Expected, Reader, Row, damaged
from mistudio_datasets.data.incoming.streams import Line, SourceFile
from mistudio_servicekit.errors import MalformedFile

_DELIMITERS = ",;\t|"
_HEAD_BYTES = 256 << 10
_HEAD_RECORDS = 100
_FIELD_SHARE = 8
"""Part of the longest line: a quote that never closes must not take the rest of a file into memory."""


@dataclass(frozen=True)
class CsvOptions:
    """What a dataset's card says about its CSV files; empty means found out.

    Attributes:
        delimiter: between fields.
        quote: around fields.
        names: column names for files without a header row.
    """

    delimiter: str = ""
    quote: str = '"'
    names: tuple[str, ...] = ()


def csv_reader(options: CsvOptions) -> Reader:
    """A reader of CSV files with these options; values are text, empty fields None.

    Many records at once are a table of texts, with the columns of their file.
    """

    def read(source: SourceFile, _: Expected) -> Iterator[Row | DamagedRecord | pa.Table]:
        return _read_csv(CsvRecords(source, options))

    return read


def _read_csv(records: CsvRecords) -> Iterator[Row | DamagedRecord | pa.Table]:
    dialect = records.dialect
    fast = FastPath(
        records.lines,
        lambda data: parse_csv(data, records.names, dialect),
        lambda data: whole_records(data, dialect),
    )
    while True:
        while records.names and dialect.is_plain and (table := fast.take()) is not None:
            yield table
        record = next(records, None)
        if record is None:
            return
        yield record


class CsvRecords(Iterator[Row | DamagedRecord]):
    """The records of a CSV file one by one, each read with all care.

    Attributes:
        lines: those behind the last record.
        names: of the columns; empty until the header was read.
        dialect: how the file is written.
    """

    def __init__(self, source: SourceFile, options: CsvOptions) -> None:
        delimiter = options.delimiter or sniff_delimiter(source.peek(_HEAD_BYTES), options.quote)
        self.dialect = Dialect(delimiter, options.quote, source.longest_line // _FIELD_SHARE)
        self.lines = LineBlocks(source)
        self.names = _distinct(options.names)
        self._source = source
        self._tape = _Tape(self.lines)
        csv.field_size_limit(self.dialect.longest_field)
        self._fields = csv.reader(self._tape, delimiter=delimiter, quotechar=options.quote, strict=True)

    def __next__(self) -> Row | DamagedRecord:
        tape = self._tape
        while True:
            tape.forget()
            try:
                fields = next(self._fields)
            except csv.Error as error:
                return damaged(self._source.name, tape.lines, _cut(tape.lines) or f"not CSV: {error}")
            if not fields or (not fields[0].strip() and tape.is_blank):
                continue
            if self.names:
                return self._record(fields)
            self.names = _header(self._source, fields, tape)

    def _record(self, fields: list[str]) -> Row | DamagedRecord:
        if reason := _fault(fields, self.names, self._tape):
            return damaged(self._source.name, self._tape.lines, reason)
        return {name: field or None for name, field in zip(self.names, fields, strict=True)}


def _fault(fields: list[str], names: list[str], tape: _Tape) -> str:
    if cut := _cut(tape.lines):
        return cut
    if len(fields) != len(names):
        return f"{len(fields)} fields where the header has {len(names)}"
    return "" if tape.is_utf8 else "not UTF-8"


def _cut(lines: list[Line]) -> str:
    try:
        for line in lines:
            line.require_whole()
    except ValueError as error:
        return str(error)
    return ""


def _header(source: SourceFile, fields: list[str], tape: _Tape) -> list[str]:
    """Names for all columns: unnamed ones are called by position, repeated ones numbered."""
    if not tape.is_utf8:
        raise MalformedFile(f"The header of {source.name} is not UTF-8", next_step="Save the file as UTF-8")
    return _distinct([field.strip() or f"column_{position}" for position, field in enumerate(fields, 1)])


def _distinct(names: Sequence[str]) -> list[str]:
    """The names with `.1`, `.2`, … behind those that were there before."""
    found: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}.{number}" for number in count(1))
        free = name if name not in found else next(each for each in numbered if each not in found and each not in names)
        found[free] = None
    return list(found)


class _Tape:
    """Feeds lines to the csv module and keeps those of the record being read."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.lines: list[Line] = []
        self.is_utf8 = True

    @property
    def is_blank(self) -> bool:
        return all(line.data.isspace() for line in self.lines)

    def forget(self) -> None:
        self.lines = []
        self.is_utf8 = True

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.lines.append(line)
        try:
            return line.data.decode()
        except UnicodeDecodeError:
            self.is_utf8 = False
            return line.data.decode(errors="surrogateescape")


def sniff_delimiter(head: bytes, quote: str = '"') -> str:
    """The delimiter that cuts the first records into the most equal fields; a comma when none does."""
    text = head.decode(errors="surrogateescape").lstrip("\ufeff")
    lines = text.splitlines(keepends=True)
    if len(head) >= _HEAD_BYTES:
        lines = lines[:-1]
    return max(_DELIMITERS, key=lambda delimiter: _evenness(lines, delimiter, quote))


def _evenness(lines: list[str], delimiter: str, quote: str) -> tuple[float, int]:
    """Share of records with the commonest field count above one, and that count."""
    widths: list[int] = []
    try:
        for fields in csv.reader(lines, delimiter=delimiter, quotechar=quote):
            widths.append(len(fields))
            if len(widths) == _HEAD_RECORDS:
                break
    except csv.Error:
        return 0.0, 0
    width, count = Counter(width for width in widths if width).most_common(1)[0] if any(widths) else (0, 0)
    return (count / len(widths), width) if width > 1 else (0.0, 0)

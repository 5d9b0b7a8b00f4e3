"""CSV files: the dialect is found out, ragged and undecodable records are set aside."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from mistudio_datasets.data.incoming.records import DamagedRecord, Row, damaged
from mistudio_datasets.data.incoming.streams import Line, SourceFile
from mistudio_servicekit.errors import MalformedFile

_DELIMITERS = ",;\t|"
_HEAD_BYTES = 256 << 10
_HEAD_RECORDS = 100
_FIELD_SHARE = 8
"""Part of the longest line: a quote that never closes must not take the rest of a file into memory."""
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII)
_FLOAT = re.compile(r"-?((0|[1-9]\d*)(\.\d+)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


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


def csv_reader(options: CsvOptions) -> Callable[[SourceFile], Iterator[Row | DamagedRecord]]:
    """A reader of CSV files with these options; values are text, empty fields None."""

    def read(source: SourceFile) -> Iterator[Row | DamagedRecord]:
        return _read_csv(source, options)

    return read


def _read_csv(source: SourceFile, options: CsvOptions) -> Iterator[Row | DamagedRecord]:
    csv.field_size_limit(source.longest_line // _FIELD_SHARE)
    tape = _Tape(source)
    delimiter = options.delimiter or sniff_delimiter(source.peek(_HEAD_BYTES), options.quote)
    records = csv.reader(tape, delimiter=delimiter, quotechar=options.quote, strict=True)
    names = _distinct(options.names)
    while True:
        tape.forget()
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            yield damaged(source.name, tape.lines, _cut(tape.lines) or f"not CSV: {error}")
            continue
        if not fields or (not fields[0].strip() and tape.is_blank):
            continue
        if not names:
            names = _header(source, fields, tape)
        elif reason := _fault(fields, names, tape):
            yield damaged(source.name, tape.lines, reason)
        else:
            yield {name: field or None for name, field in zip(names, fields, strict=True)}


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

    def __init__(self, source: SourceFile) -> None:
        self._lines = source.lines()
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


def typed_field(text: str) -> bool | int | float | str:
    """The value a field would have by itself. Texts that a number would not give back (`007`, `+1`) stay text."""
    if text in ("true", "false", "True", "False", "TRUE", "FALSE"):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text) if text != "-0" else text
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text

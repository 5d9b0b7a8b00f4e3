"""CSV files: the dialect is found out, ragged and undecodable records are set aside."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mistudio_datasets.data.records import Row, damaged
from mistudio_datasets.data.streams import MAX_LINE_BYTES, Line, SourceFile
from mistudio_datasets.domain.datasets import DamagedLine
from mistudio_servicekit.errors import MalformedFile

_DELIMITERS = ",;\t|"
_HEAD_BYTES = 256 << 10
_HEAD_RECORDS = 100
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})")
_FLOAT = re.compile(r"-?(0|[1-9]\d*)?(\.\d+)?([eE][+-]?\d+)?")


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


def csv_reader(options: CsvOptions) -> Callable[[SourceFile], Iterator[Row | DamagedLine]]:
    """A reader of CSV files with these options; values are text, empty fields None."""

    def read(source: SourceFile) -> Iterator[Row | DamagedLine]:
        return _read_csv(source, options)

    return read


def _read_csv(source: SourceFile, options: CsvOptions) -> Iterator[Row | DamagedLine]:
    csv.field_size_limit(MAX_LINE_BYTES)
    tape = _Tape(source)
    delimiter = options.delimiter or sniff_delimiter(source.peek(_HEAD_BYTES), options.quote)
    records = csv.reader(tape, delimiter=delimiter, quotechar=options.quote, strict=True)
    names = list(options.names)
    while True:
        tape.forget()
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            yield damaged(source.name, tape.lines, f"not CSV: {error}")
            continue
        if not fields or tape.is_blank:
            continue
        if not names:
            names = _header(source, fields)
        elif reason := _fault(fields, names):
            yield damaged(source.name, tape.lines, reason)
        else:
            yield {name: field or None for name, field in zip(names, fields, strict=True)}


def _fault(fields: list[str], names: list[str]) -> str:
    if len(fields) != len(names):
        return f"{len(fields)} fields where the header has {len(names)}"
    if any("\udc80" <= letter <= "\udcff" for field in fields if not field.isascii() for letter in field):
        return "not UTF-8"
    return ""


def _header(source: SourceFile, fields: list[str]) -> list[str]:
    """Names for all columns: unnamed ones are called by position, repeated ones numbered."""
    if any("\udc80" <= letter <= "\udcff" for field in fields for letter in field):
        raise MalformedFile(f"The header of {source.name} is not UTF-8", next_step="Save the file as UTF-8")
    seen: Counter[str] = Counter()
    names = []
    for position, field in enumerate(fields, 1):
        name = field.strip() or f"column_{position}"
        names.append(f"{name}.{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return names


class _Tape:
    """Feeds lines to the csv module and keeps those of the record being read."""

    def __init__(self, source: SourceFile) -> None:
        self._lines = source.lines()
        self.lines: list[Line] = []

    @property
    def is_blank(self) -> bool:
        return all(line.data.isspace() for line in self.lines)

    def forget(self) -> None:
        self.lines = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.lines.append(line)
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
    if _FLOAT.fullmatch(text) and text[-1].isdigit() and math.isfinite(float(text)):
        return float(text)
    return text

"""Many records of a CSV file at once, by Arrow's parser, where it reads exactly what `csv_rows` would.

Arrow refuses records of another width and broken text by itself. It is more lenient than the csv module about quotes
and line ends, and drops a byte order mark anywhere: such blocks are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

_LINE_END = ord("\n")
_MARK = b"\xef\xbb\xbf"
_LONE_RETURN = re.compile(rb"\r(?!\n)")
_BLANKS = " \t\v\f"
_BLANK_LINE = re.compile(rf"^[{_BLANKS}]+\r?$".encode(), re.MULTILINE)
_ARROW_ROOM = 1024

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Attributes:
        delimiter: between fields, one character.
        quote: around fields, one character; twice within them.
        longest_field: most characters of a field.
    """

    delimiter: str
    quote: str
    longest_field: int

    @property
    def is_plain(self) -> bool:
        """Whether it is written with single bytes that mean nothing else."""
        used = self.delimiter + self.quote
        return len(set(used) - set("\r\n\0")) == len(used) == len(used.encode()) == 2


def whole_records(data: bytes, dialect: Dialect) -> bytes:
    """The beginning of `data`, whole lines, that ends with a record if quotes stand in pairs; a field may go on."""
    if data.count(dialect.quote.encode()) % 2 == 0:
        return data
    ends, quotes = _places(data, _LINE_END), _places(data, ord(dialect.quote))
    outside = ends[np.searchsorted(quotes, ends) % 2 == 0]
    return data[: outside[-1] + 1] if len(outside) else b""


def parse_csv(data: bytes, names: Sequence[str], dialect: Dialect) -> pa.Table | None:
    """All records of `data`, whole ones, as texts under these names, null where empty; None if any asks for care."""
    if len(data) > dialect.longest_field or not _is_plain(data) or not _is_well_quoted(data, dialect):
        return None
    try:
        table = _parse(data, names, dialect)
    except pa.ArrowInvalid:
        return None
    has_width_of_blank = len(names) == 1 or dialect.delimiter.isspace()
    if has_width_of_blank and _BLANK_LINE.search(data) and _has_blank_row(table):
        return None
    return table if table.num_rows else None


def _is_plain(data: bytes) -> bool:
    """Whether there is nothing that Arrow takes otherwise than the csv module."""
    has_lone_return = b"\r" in data and _LONE_RETURN.search(data)
    return not (has_lone_return or b"\0" in data or data.startswith(_MARK))


def _is_well_quoted(data: bytes, dialect: Dialect) -> bool:
    """Whether each quote begins a field, or ends one, or is one of two within a field.

    Then every second quote ends what the one before it began; two in a row within a field do so to no effect.
    """
    quote, delimiter = ord(dialect.quote), ord(dialect.delimiter)
    places = _places(data, quote)
    if len(places) % 2:
        return False
    characters = np.frombuffer(data, np.uint8)
    begins, ends = places[0::2], places[1::2]
    before, behind = characters[begins[begins > 0] - 1], characters[ends[ends < len(data) - 1] + 1]
    return bool(
        np.isin(before, [delimiter, _LINE_END, quote]).all()
        and np.isin(behind, [delimiter, _LINE_END, ord("\r"), quote]).all()
    )


def _places(data: bytes, byte: int) -> Places:
    return np.flatnonzero(np.frombuffer(data, np.uint8) == byte)


def _parse(data: bytes, names: Sequence[str], dialect: Dialect) -> pa.Table:
    return pa.csv.read_csv(
        pa.BufferReader(data),  # type: ignore[arg-type]  # the stubs know no Arrow files, which spare a copy
        read_options=pa.csv.ReadOptions(column_names=list(names), block_size=len(data) + _ARROW_ROOM),
        parse_options=pa.csv.ParseOptions(
            delimiter=dialect.delimiter, quote_char=dialect.quote, newlines_in_values=True
        ),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )


def _has_blank_row(rows: pa.Table) -> bool:
    """Whether a row may be a line of blanks, which is no record. Empty lines Arrow leaves out as well."""
    fields = (column.to_pylist() for column in rows.columns)
    return any(not any((field or "").strip(_BLANKS) for field in row) for row in zip(*fields, strict=True))

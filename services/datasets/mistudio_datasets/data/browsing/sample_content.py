"""Whole cells and rows as bytes, in pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from mistudio_datasets.data.browsing.cells import CellCutter, describe_bytes
from mistudio_datasets.data.browsing.query_search import column_not_found
from mistudio_datasets.data.browsing.row_values import read_cell
from mistudio_datasets.data.browsing.samples import as_python
from mistudio_datasets.data.incoming.schema import is_binary, is_media_struct, is_text
from mistudio_datasets.domain.datasets import Layout, SplitInfo
from mistudio_servicekit.errors import RowNotFound

PIECE_BYTES = 1 << 20
_TEXT = "text/plain"
_JSON = "application/json"
_BYTES = "application/octet-stream"
_ANY_SIZE = 1 << 62
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_MEDIA_NAMES = {"mp3": "mpeg"}


@dataclass(frozen=True)
class SampleContent:
    """The bytes of a cell or row.

    Attributes:
        media_type: what they are.
        parts: buffers in order; empty where the cell is null.
        is_null: whether the cell is null.
    """

    media_type: str
    parts: Sequence[memoryview]
    is_null: bool = False

    @property
    def size_bytes(self) -> int:
        """Bytes in all."""
        return sum(part.nbytes for part in self.parts)

    def pieces(self) -> Iterator[bytes]:
        """The bytes in order, at most 1 MiB each; nothing for an empty cell."""
        for part in self.parts:
            for start in range(0, part.nbytes, PIECE_BYTES):
                yield bytes(part[start : start + PIECE_BYTES])


def read_content(folder: Path, layout: Layout, split: str, row: int, column: str) -> SampleContent:
    """The whole cell of `row` in `column`, or the whole row as a JSON object if `column` is empty.

    Texts and binary values are not copied: their parts are what was read.

    Raises:
        SplitNotFound, ColumnNotFound, RowNotFound: there is no such cell.
        FileNotFoundError: the dataset is gone.
        MalformedFile: the file is broken.
    """
    info = layout.split(split)
    names = [known.name for known in layout.columns]
    if column and column not in names:
        raise column_not_found(column, layout, "column")
    _require_row(info, row)
    if not column:
        return _whole_row(folder, info, row, names)
    return _cell(read_cell(folder, info, row, [column]).column(column))


def _require_row(split: SplitInfo, row: int) -> None:
    if 0 <= row < split.rows:
        return
    last = f"Use 0 to {split.rows - 1}" if split.rows else "Choose a split that holds rows"
    raise RowNotFound(
        f"The split {split.name!r} has {split.rows:,} rows and none of number {row}",
        next_step=last,
        field="row",
        metadata={"row": str(row), "rows": str(split.rows)},
    )


def _cell(cell: pa.Array[Any]) -> SampleContent:
    """`cell` holds one value."""
    type_ = cell.type
    if is_text(type_):
        return _buffer(_TEXT, cell.cast(pa.large_string())[0])
    if is_binary(type_):
        return _binary(cell.cast(pa.large_binary())[0])
    if is_media_struct(type_) and cell[0].is_valid and cell[0]["bytes"].is_valid:
        return _binary(cast(pa.StructArray, cell).field("bytes").cast(pa.large_binary())[0])
    if not cell[0].is_valid:
        return SampleContent(_JSON, (), is_null=True)
    return SampleContent(_JSON, [memoryview(_json(cell))])


def _buffer(media_type: str, value: pa.Scalar[Any]) -> SampleContent:
    if not value.is_valid:
        return SampleContent(media_type, (), is_null=True)
    return SampleContent(media_type, [memoryview(_buffer_of(value))])


def _buffer_of(value: pa.Scalar[Any]) -> pa.Buffer:
    return cast(pa.LargeBinaryScalar, value).as_buffer()


def _binary(value: pa.Scalar[Any]) -> SampleContent:
    if not value.is_valid:
        return SampleContent(_BYTES, (), is_null=True)
    described = describe_bytes(_buffer_of(value)[:64].to_pybytes())
    form = described["format"]
    return _buffer(f"{described['kind']}/{_MEDIA_NAMES.get(form, form)}" if form else _BYTES, value)


def _json(cell: pa.Array[Any]) -> bytes:
    value = CellCutter(_ANY_SIZE).value(as_python(cell)[0])
    return _ENCODER.encode(value).encode(errors="replace")


def _whole_row(folder: Path, split: SplitInfo, row: int, names: list[str]) -> SampleContent:
    """Column by column, so that one is in memory as Python objects at a time."""
    values = read_cell(folder, split, row, None)
    columns = dict(zip(values.schema.names, values.columns, strict=True))
    parts = [b"{"]
    for number, name in enumerate(names):
        parts.append(f"{', ' if number else ''}{_ENCODER.encode(name)}: ".encode())
        parts.append(_json(columns[name]))
    return SampleContent(_JSON, [memoryview(part) for part in (*parts, b"}")])

"""Where the rows of a dataset lie, as part of its message: no dataset makes an answer bigger than a message may be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from mistudio.datasets.v1 import dataset_pb2
from mistudio_datasets.domain.datasets import LISTED_COLUMNS, Column, DamagedLine, Layout, SplitInfo

_FRAME_BYTES = 6
"""Most that stands before a part of a message: its field and length."""

_Part = TypeVar("_Part", dataset_pb2.Split, dataset_pb2.Column, dataset_pb2.DamagedLine)


@dataclass(frozen=True)
class Detail:
    """How much of a layout is told: at most so many columns, and so many bytes of splits, columns and damaged lines."""

    columns: int | None
    bytes: int


ANSWER_BYTES = 12 << 20
"""Most bytes of an answer's parts; a message may have 16 MiB."""

ALONE = Detail(None, ANSWER_BYTES)
"""A dataset that has the answer for itself."""

LISTED = Detail(LISTED_COLUMNS, 6 << 10)
"""One of up to 500, which together stay below the 4 MiB that clients take unless told otherwise."""


def add_layout(message: dataset_pb2.Dataset, layout: Layout, detail: Detail) -> None:
    """Tell `layout` in the message of its dataset."""
    room = Room(detail.bytes)
    message.splits.extend(room.fitting(map(_split, layout.splits)))
    message.columns.extend(room.fitting(map(column_message, islice(layout.columns, detail.columns))))
    message.damaged.extend(room.fitting(map(_damaged_line, layout.damaged)))
    message.rows = layout.rows
    message.column_count = len(layout.columns) + layout.more_columns
    message.damaged_lines = layout.damaged_count


@dataclass
class Room:
    """Bytes of a message that are `left` for its parts."""

    left: int

    def fitting(self, parts: Iterable[_Part]) -> Iterator[_Part]:
        """The first of `parts`, as many as there is room for."""
        for part in parts:
            size = part.ByteSize() + _FRAME_BYTES
            if size > self.left:
                return
            self.left -= size
            yield part


def _split(split: SplitInfo) -> dataset_pb2.Split:
    return dataset_pb2.Split(name=split.name, rows=split.rows, size_bytes=split.bytes)


def column_message(column: Column) -> dataset_pb2.Column:
    """The column as clients see it."""
    shown = column.shortened()
    return dataset_pb2.Column(name=shown.name, type=shown.type)


def _damaged_line(line: DamagedLine) -> dataset_pb2.DamagedLine:
    return dataset_pb2.DamagedLine(line=line.line, reason=line.reason, text=line.text or line.base64 or "")

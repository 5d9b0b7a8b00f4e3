"""What readers of row-wise files yield: rows, and records that could not be read."""

from __future__ import annotations

import base64
import codecs
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import pyarrow as pa

from mistudio_datasets.data.incoming.streams import Line, SourceFile
from mistudio_datasets.domain.datasets import DamagedLine

DAMAGED_FILE = "damaged.jsonl"
_LISTED_BYTES = 4096
_FIRST_DAMAGED = 100

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DamagedRecord:
    """A record that was set aside.

    Attributes:
        listed: where it is and why it could not be read, with its beginning.
        lines: all of it.
    """

    listed: DamagedLine
    lines: Sequence[Line]


Expected = Callable[[], pa.Schema]
"""The columns that rows are known to have so far; a table of values has exactly these."""


def no_columns() -> pa.Schema:
    """What is expected where rows are wanted one by one."""
    return pa.schema([])


Reader = Callable[[SourceFile, Expected], Iterator[Row | DamagedRecord | pa.Table]]
"""Yields every record of a file once, in order; the same on every pass, whether alone or in a table with others."""


def damaged(file: str, lines: Sequence[Line], reason: str) -> DamagedRecord:
    """The record on `lines` of `file`, set aside for `reason`."""
    size = sum(line.size for line in lines)
    first = lines[0]
    head = _head(lines)
    text, coded = _readable_text(head, is_whole=size <= len(head))
    listed = DamagedLine(file, first.number, len(lines), first.offset, size, reason, text, coded)
    return DamagedRecord(listed, lines)


def _head(lines: Sequence[Line]) -> bytes:
    head = b""
    for line in lines:
        head += line.data[: _LISTED_BYTES - len(head)]
        if len(head) == _LISTED_BYTES:
            break
    return head


def _readable_text(head: bytes, *, is_whole: bool) -> tuple[str | None, str | None]:
    if b"\0" in head:  # the database takes no such text
        return None, base64.b64encode(head).decode()
    try:
        return head.decode(), None
    except UnicodeDecodeError as error:
        if not is_whole and error.start > len(head) - 4:
            return head[: error.start].decode(), None
        return None, base64.b64encode(head).decode()


class DamageLog:
    """Writes set-aside records, whole, to `damaged.jsonl`, which exists only when there are some."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / DAMAGED_FILE
        self._path.unlink(missing_ok=True)
        self._file: IO[str] | None = None
        self.count = 0
        self.first: list[DamagedLine] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, record: DamagedRecord) -> None:
        """Set `record` aside."""
        self.count += 1
        if len(self.first) < _FIRST_DAMAGED:
            self.first.append(record.listed)
        self._file = self._file or self._path.open("w", encoding="utf-8")
        self._file.writelines(_json_line(record))


def _json_line(record: DamagedRecord) -> Iterator[str]:
    """A JSON object like `DamagedLine` with the whole record, in pieces: one may have hundreds of megabytes."""
    is_text = _is_text(record.lines)
    facts = {name: value for name, value in asdict(record.listed).items() if name not in ("text", "base64")}
    yield json.dumps(facts, ensure_ascii=False)[:-1]
    yield ', "text": "' if is_text else ', "text": null, "base64": "'
    yield from _escaped(record.lines) if is_text else _coded(record.lines)
    yield '", "base64": null}\n' if is_text else '"}\n'


def _is_text(lines: Sequence[Line]) -> bool:
    try:
        for _ in _escaped(lines):
            pass
    except UnicodeDecodeError:
        return False
    return True


def _escaped(lines: Sequence[Line]) -> Iterator[str]:
    """The lines as the inside of a JSON string. A line that was too long to keep may end within a character."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for line in lines:
        yield json.dumps(decoder.decode(line.data, final=line.size == len(line.data)), ensure_ascii=False)[1:-1]


def _coded(lines: Sequence[Line]) -> Iterator[str]:
    rest = b""
    for line in lines:
        data = rest + line.data
        cut = len(data) // 3 * 3
        yield base64.b64encode(data[:cut]).decode()
        rest = data[cut:]
    yield base64.b64encode(rest).decode()

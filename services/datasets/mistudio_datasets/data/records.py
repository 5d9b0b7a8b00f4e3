"""What readers of row-wise files yield: rows, and records that could not be read."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mistudio_datasets.data.streams import Line, SourceFile
from mistudio_datasets.domain.datasets import DamagedLine

Row = Mapping[str, Any]
Reader = Callable[[SourceFile], Iterator[Row | DamagedLine]]
"""Yields every record of a file once, in order; the same on every pass."""

DAMAGED_FILE = "damaged.jsonl"
KEPT_TEXT_BYTES = 4096
_FIRST_DAMAGED = 100


def damaged(file: str, lines: list[Line], reason: str) -> DamagedLine:
    """The record on `lines` of `file`, set aside for `reason`."""
    size = sum(line.size for line in lines)
    head = b"".join(line.data for line in lines)[:KEPT_TEXT_BYTES]
    text, coded = _readable_text(head, is_whole=size <= KEPT_TEXT_BYTES)
    return DamagedLine(file, lines[0].number, len(lines), lines[0].offset, size, reason, text, coded)


def _readable_text(head: bytes, *, is_whole: bool) -> tuple[str | None, str | None]:
    try:
        return head.decode(), None
    except UnicodeDecodeError as error:
        if not is_whole and error.start > len(head) - 4:
            return head[: error.start].decode(), None
        return None, base64.b64encode(head).decode()


class DamageLog:
    """Writes set-aside records to `damaged.jsonl`, which exists only when there are some."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / DAMAGED_FILE
        self._path.unlink(missing_ok=True)
        self.count = 0
        self.first: list[DamagedLine] = []

    def add(self, line: DamagedLine) -> None:
        """Set `line` aside."""
        self.count += 1
        if len(self.first) < _FIRST_DAMAGED:
            self.first.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")

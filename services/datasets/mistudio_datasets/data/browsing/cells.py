"""Cells as JSON-ready values: what is too big is cut and marked, binary data is described."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

_EXACT_DOUBLE = 1 << 53
_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x89PNG", "image", "png"),
    (0, b"\xff\xd8\xff", "image", "jpeg"),
    (0, b"GIF8", "image", "gif"),
    (0, b"BM", "image", "bmp"),
    (0, b"II*\0", "image", "tiff"),
    (0, b"MM\0*", "image", "tiff"),
    (8, b"WEBP", "image", "webp"),
    (8, b"WAVE", "audio", "wav"),
    (0, b"fLaC", "audio", "flac"),
    (0, b"OggS", "audio", "ogg"),
    (0, b"ID3", "audio", "mp3"),
    (0, b"\xff\xfb", "audio", "mp3"),
)


class CellCutter:
    """Makes one cell JSON-ready within a budget of bytes.

    Integers that a double would round, decimals, times and non-finite numbers become text. Bytes, and the structs that
    `datasets` keeps files in, become `{"kind": "image", "format": "png", "size_bytes": 1234, "path": …}`.

    Attributes:
        size_bytes: bytes of the whole cell, as UTF-8 text and JSON-like numbers.
        is_cut: whether the budget did not hold all of it.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget
        self.size_bytes = 0
        self.is_cut = False

    def value(self, value: Any) -> Any:
        """The JSON-ready form of `value`; after the budget is used up, the empty form of its type."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return self._file(value) if _is_file(value) else self._record(value)
        if isinstance(value, (list, tuple)):
            return self._list(value)
        if isinstance(value, (bytes, bytearray)):
            self._spend(64)
            return describe_bytes(bytes(value))
        self._spend(8)
        return _scalar(value)

    def _text(self, text: str) -> str:
        encoded = text if text.isascii() else text.encode(errors="replace")
        size = len(encoded)
        if size <= self._left:
            self._spend(size)
            return text
        kept = encoded[: self._left]
        self._spend(size)
        return kept if isinstance(kept, str) else kept.decode(errors="ignore")

    def _record(self, record: Mapping[Any, Any]) -> dict[str, Any]:
        kept = {}
        for key, value in record.items():
            had_room = self._spend(len(str(key)))
            item = self.value(value)
            if had_room:
                kept[str(key)] = item
        return kept

    def _list(self, items: list[Any] | tuple[Any, ...]) -> list[Any]:
        kept = []
        for item in items:
            had_room = self._spend(1)
            value = self.value(item)
            if had_room:
                kept.append(value)
        return kept

    def _file(self, record: Mapping[str, Any]) -> dict[str, Any]:
        self._spend(64)
        described = describe_bytes(record["bytes"] or b"")
        return described | {"path": record["path"]}

    def _spend(self, size: int) -> bool:
        had_room = self._left > 0
        self.size_bytes += size
        self.is_cut = self.is_cut or size > self._left
        self._left = max(0, self._left - size)
        return had_room


def describe_bytes(data: bytes) -> dict[str, Any]:
    """What a binary value is, by its first bytes: `kind` is `image`, `audio` or `binary`."""
    for offset, signature, kind, form in _SIGNATURES:
        if data.startswith(signature, offset):
            return {"kind": kind, "format": form, "size_bytes": len(data)}
    return {"kind": "binary", "format": "", "size_bytes": len(data)}


def _is_file(value: Mapping[Any, Any]) -> bool:
    return value.keys() == {"bytes", "path"} and isinstance(value["bytes"], (bytes, type(None)))


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_EXACT_DOUBLE <= value <= _EXACT_DOUBLE else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if not isinstance(value, Decimal) else format(value, "f")

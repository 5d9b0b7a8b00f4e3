"""The type of a column, found by looking at every value: it widens as values ask for it.

Integers and fractions meet in float64 while no integer loses digits. Whatever else does not fit together becomes text:
texts as they are, other values as JSON. Missing keys are null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntFlag
from typing import Any

import pyarrow as pa

MAX_DEPTH = 32
MAX_KEYS = 1000
"""A nested object with more different keys over all rows is a dictionary, not a record: it is stored as JSON."""

_EXACT_FLOAT = 1 << 53
_INT64 = 1 << 63


class _Seen(IntFlag):
    NONE = 0
    BOOLEAN = 1
    INTEGER = 2
    WIDE_INTEGER = 4  # has digits that float64 would lose
    HUGE_INTEGER = 8  # does not fit int64
    FLOAT = 16
    TEXT = 32
    LIST = 64
    RECORD = 128
    TOO_DEEP = 256


_ANY_INTEGER = _Seen.INTEGER | _Seen.WIDE_INTEGER
_SCALARS: dict[_Seen, pa.DataType] = {
    _Seen.NONE: pa.null(),
    _Seen.BOOLEAN: pa.bool_(),
    _Seen.INTEGER: pa.int64(),
    _Seen.WIDE_INTEGER: pa.int64(),
    _ANY_INTEGER: pa.int64(),
    _Seen.FLOAT: pa.float64(),
    _Seen.FLOAT | _Seen.INTEGER: pa.float64(),
    _Seen.TEXT: pa.string(),
}


class Shape:
    """What the values seen so far have in common."""

    __slots__ = ("_fields", "_items", "_seen")

    def __init__(self) -> None:
        self._seen = _Seen.NONE
        self._fields: dict[str, Shape] = {}
        self._items: Shape | None = None

    @property
    def fields(self) -> Mapping[str, Shape]:
        """The shapes of a record's values by key, in the order the keys were first seen."""
        return self._fields

    def observe(self, value: object, depth: int = 0) -> None:
        """Widen to take `value`, a JSON value."""
        if value is None:
            return
        if isinstance(value, (dict, list)):
            self._observe_nested(value, depth + 1)
        else:
            self._seen |= _seen_scalar(value)

    def _observe_nested(self, value: dict[str, Any] | list[Any], depth: int) -> None:
        if depth > MAX_DEPTH:
            self._seen |= _Seen.TOO_DEEP
        elif isinstance(value, dict):
            self._seen |= _Seen.RECORD
            self._observe_fields(value, depth)
        else:
            self._seen |= _Seen.LIST
            self._items = self._items or Shape()
            for item in value:
                self._items.observe(item, depth)

    def _observe_fields(self, record: Mapping[str, Any], depth: int) -> None:
        is_top = depth == 1
        for key, value in record.items():
            shape = self._fields.get(key)
            if shape is None:
                if len(self._fields) > MAX_KEYS and not is_top:
                    return
                shape = self._fields[key] = Shape()
            shape.observe(value, depth)

    def arrow_type(self) -> pa.DataType:
        """The Arrow type that holds every value seen, after `fit`."""
        if self._is_list:
            return pa.list_(self._items.arrow_type() if self._items else pa.null())
        if self._is_record:
            return pa.struct([pa.field(key, shape.arrow_type()) for key, shape in self._fields.items()])
        return _SCALARS.get(self._seen, pa.string())

    @property
    def _is_list(self) -> bool:
        return self._seen == _Seen.LIST

    @property
    def _is_record(self) -> bool:
        return self._seen == _Seen.RECORD and 0 < len(self._fields) <= MAX_KEYS

    @property
    def _is_plain(self) -> bool:
        """Whether values fit as they are."""
        if self._is_list:
            return self._items is None or self._items._is_plain
        if self._is_record:
            return all(shape._is_plain for shape in self._fields.values())
        return self._seen in _SCALARS

    def fit_all(self, values: list[Any]) -> pa.Array[Any]:
        """The column that holds these values (all observed before)."""
        fitted = values if self._is_plain else [self._fit(value) for value in values]
        return pa.array(fitted, self.arrow_type())

    def _fit(self, value: Any) -> Any:
        if value is None or self._is_plain:
            return value
        if self._is_list and self._items:
            return [self._items._fit(item) for item in value]
        if self._is_record:
            return {key: shape._fit(value.get(key)) for key, shape in self._fields.items()}
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _seen_scalar(value: object) -> _Seen:
    if isinstance(value, str):
        return _Seen.TEXT
    if isinstance(value, bool):
        return _Seen.BOOLEAN
    if isinstance(value, float):
        return _Seen.FLOAT
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no JSON value")
    if -_EXACT_FLOAT <= value <= _EXACT_FLOAT:
        return _Seen.INTEGER
    return _Seen.WIDE_INTEGER if -_INT64 <= value < _INT64 else _Seen.HUGE_INTEGER

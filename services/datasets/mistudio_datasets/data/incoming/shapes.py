"""The type of a column, found by looking at every value: it widens as values ask for it.

Integers and fractions meet in float64 while no integer loses digits. Whatever else does not fit together becomes text:
texts as they are, other values as JSON. Missing keys are null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MAX_DEPTH = 32
MAX_KEYS = 1000
"""A nested object with more different keys over all rows is a dictionary, not a record: it is stored as JSON."""

_EXACT_FLOAT = 1 << 53
_INT64 = 1 << 63


# What was seen, as bits of plain integers: these lines run for every value, and an IntFlag takes three times as long.
_NONE = 0
_BOOLEAN = 1
_INTEGER = 2
_WIDE_INTEGER = 4  # has digits that float64 would lose
_HUGE_INTEGER = 8  # does not fit int64
_FLOAT = 16
_TEXT = 32
_LIST = 64
_RECORD = 128
_TOO_DEEP = 256

_SCALARS: dict[int, pa.DataType] = {
    _NONE: pa.null(),
    _BOOLEAN: pa.bool_(),
    _INTEGER: pa.int64(),
    _WIDE_INTEGER: pa.int64(),
    _INTEGER | _WIDE_INTEGER: pa.int64(),
    _FLOAT: pa.float64(),
    _FLOAT | _INTEGER: pa.float64(),
    _TEXT: pa.string(),
}
_BY_TYPE: dict[type, int] = {str: _TEXT, bool: _BOOLEAN, float: _FLOAT, type(None): _NONE}


class Shape:
    """What the values seen so far have in common."""

    __slots__ = ("_fields", "_items", "_seen")

    def __init__(self) -> None:
        self._seen = _NONE
        self._fields: dict[str, Shape] = {}
        self._items: Shape | None = None

    @property
    def fields(self) -> Mapping[str, Shape]:
        """The shapes of a record's values by key, in the order the keys were first seen."""
        return self._fields

    def observe(self, value: object, depth: int = 0) -> None:
        """Widen to take `value`, a JSON value."""
        seen = _BY_TYPE.get(type(value))
        if seen is not None:
            self._seen |= seen
        elif isinstance(value, (dict, list)):
            self._observe_nested(value, depth + 1)
        else:
            self._seen |= _seen_integer(value)

    def _observe_nested(self, value: dict[str, Any] | list[Any], depth: int) -> None:
        if depth > MAX_DEPTH:
            self._seen |= _TOO_DEEP
        elif isinstance(value, dict):
            self._seen |= _RECORD
            self._observe_fields(value, depth)
        else:
            self._seen |= _LIST
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

    def schema(self) -> pa.Schema:
        """The columns of a table whose rows are the records seen."""
        return pa.schema([pa.field(key, shape.arrow_type()) for key, shape in self._fields.items()])

    def observe_rows(self, rows: pa.Table) -> None:
        """Widen to take `rows`, which have this `schema`."""
        self._seen |= _RECORD
        for shape, column in zip(self._fields.values(), rows.columns, strict=True):
            for values in column.chunks:
                shape.observe_all(values)

    def observe_all(self, values: pa.Array[Any]) -> None:
        """Widen to take `values`, which are of `arrow_type`.

        Of floats it is not known whether some were integers: beside floats those change nothing.
        """
        if values.null_count == len(values):
            return
        if isinstance(values, pa.StructArray):
            self._seen |= _RECORD
            for shape, field in zip(self._fields.values(), values.flatten(), strict=True):
                shape.observe_all(field)
        elif isinstance(values, pa.ListArray):
            self._seen |= _LIST
            self._items = self._items or Shape()
            self._items.observe_all(values.flatten())
        else:
            self._seen |= _seen_scalars(values)

    def arrow_type(self) -> pa.DataType:
        """The Arrow type that holds every value seen, after `fit`."""
        if self._is_list:
            return pa.list_(self._items.arrow_type() if self._items else pa.null())
        if self._is_record:
            return pa.struct([pa.field(key, shape.arrow_type()) for key, shape in self._fields.items()])
        return _SCALARS.get(self._seen, pa.string())

    @property
    def _is_list(self) -> bool:
        return self._seen == _LIST

    @property
    def _is_record(self) -> bool:
        return self._seen == _RECORD and 0 < len(self._fields) <= MAX_KEYS

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


def _seen_scalars(values: pa.Array[Any]) -> int:
    if pa.types.is_int64(values.type):
        return _seen_integer(pc.min(values).as_py()) | _seen_integer(pc.max(values).as_py())
    return {pa.string(): _TEXT, pa.bool_(): _BOOLEAN, pa.float64(): _FLOAT}[values.type]


def _seen_integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{type(value).__name__} is no JSON value")
    if -_EXACT_FLOAT <= value <= _EXACT_FLOAT:
        return _INTEGER
    return _WIDE_INTEGER if -_INT64 <= value < _INT64 else _HUGE_INTEGER

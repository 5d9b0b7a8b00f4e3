"""The values that the fields of CSV files stand for: of fields one by one, and of columns of them at once by Arrow.

Arrow is asked only where it certainly finds what `typed_field` finds.
"""

from __future__ import annotations

import math
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mistudio_datasets.data.incoming.shapes import Shape

_TRUTHS = ("true", "false", "True", "False", "TRUE", "FALSE")
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII)
_FLOAT = re.compile(r"-?((0|[1-9]\d*)(\.\d+)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_EXACT_FLOAT = pa.scalar(float(1 << 53))
_NEGATIVE_ZERO = pa.scalar("-0")


def typed_field(text: str) -> bool | int | float | str:
    """The value a field would have by itself. Texts that a number would not give back (`007`, `+1`) stay text."""
    if text in _TRUTHS:
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text) if text != "-0" else text
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text


def observe_fields(shape: Shape, fields: pa.Array[Any]) -> None:
    """Widen `shape`, of a column, to take the values of `fields`, which are texts, as observing each of them would."""
    fields = fields.drop_null()
    if len(fields) == 0:
        return
    kinds = (values_of(fields) for values_of in (_integers, _fractions, _truths))
    values = next((values for values in kinds if values is not None), None)
    if values is not None:
        shape.observe_all(values)
    else:
        _observe_each(shape, fields)


def _observe_each(shape: Shape, fields: pa.Array[Any]) -> None:
    for field in fields:
        shape.observe(typed_field(field.as_py()))
        if is_text(shape):
            return


def values_of_type(fields: pa.ChunkedArray[Any], type_: pa.DataType) -> pa.Array[Any] | pa.ChunkedArray[Any]:
    """The values of `fields`, texts; `type_` is that of a shape that has observed them."""
    return pa.nulls(len(fields)) if pa.types.is_null(type_) else fields.cast(type_)


def is_text(shape: Shape) -> bool:
    """Whether a column of this shape is text, as it stays then: fields never make it anything else again."""
    return shape.arrow_type() == pa.string()


def _integers(fields: pa.Array[Any]) -> pa.Array[Any] | None:
    """The fields as integers, if all are and none is huge."""
    if not _all_match(fields, _INTEGER) or _any(pc.equal(fields, _NEGATIVE_ZERO)):
        return None
    try:
        return fields.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _fractions(fields: pa.Array[Any]) -> pa.Array[Any] | None:
    """The fields as floats, if all are numbers that floats hold, and not all of them (`_integers`) are integers."""
    if not _all_match(fields, _FLOAT) or _any(pc.equal(fields, _NEGATIVE_ZERO)):
        return None
    floats = fields.cast(pa.float64())
    return floats if _all(pc.less(pc.abs(floats), _EXACT_FLOAT)) else None


def _truths(fields: pa.Array[Any]) -> pa.Array[Any] | None:
    """The fields as booleans, if all are."""
    return fields.cast(pa.bool_()) if _all(pc.is_in(fields, pa.array(_TRUTHS))) else None


def _all_match(fields: pa.Array[Any], pattern: re.Pattern[str]) -> bool:
    return _all(pc.match_substring_regex(fields, rf"\A(?:{pattern.pattern})\z"))


def _all(found: pa.BooleanArray) -> bool:
    return bool(pc.all(found).as_py())


def _any(found: pa.BooleanArray) -> bool:
    return bool(pc.any(found).as_py())

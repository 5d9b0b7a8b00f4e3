"""Filters as SQL: every comparison in the type of its column, every value a parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from mistudio_datasets.data.browsing.query_filter import Comparison, invalid_filter, parse_filter
from mistudio_datasets.data.incoming.schema import is_text

_ORDERS = ("=", "!=", "<", "<=", ">", ">=")
_EQUALITIES = ("=", "!=")
_DIGITS = 38
_SHOWN_COLUMNS = 50


@dataclass(frozen=True)
class Condition:
    """A condition on rows: SQL over `c0`, `c1` … for the columns in the schema's order, and its parameters."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Form:
    """How values of a type are compared.

    Attributes:
        parse: makes the value to compare with, or raises ValueError.
        takes: what `parse` takes, for people.
        ops: operators that make sense.
        sql: the comparison, with places for `ref`, `op` and `value`.
    """

    parse: Callable[[str], Any]
    takes: str
    ops: Sequence[str] = _ORDERS
    sql: str = "{ref} {op} {value}"


def filter_condition(text: str, schema: pa.Schema) -> Condition | None:
    """What the filter `text` asks of rows of `schema`; None if it is empty.

    Comparisons hold for no null and no NaN. Times without a zone are taken as UTC.

    Raises:
        InvalidFilter: it does not parse, names no column, or compares a column with what it cannot hold.
    """
    comparisons = parse_filter(text)
    if not comparisons:
        return None
    parts, parameters = [], {}
    for number, comparison in enumerate(comparisons):
        ref, type_ = _resolve(comparison, schema)
        if comparison.op not in _ORDERS:
            parts.append(f"{ref} {comparison.op}")
            continue
        form = _form(comparison, type_)
        parts.append(form.sql.format(ref=ref, op=comparison.op, value=f"$value{number}"))
        parameters[f"value{number}"] = _value(comparison, type_, form)
    return Condition(" AND ".join(f"({part})" for part in parts), parameters)


def _resolve(comparison: Comparison, schema: pa.Schema) -> tuple[str, pa.DataType]:
    """SQL that names the column or field, and its type."""
    column, *fields = comparison.path
    if column not in schema.names:
        raise _unknown(comparison, "column", column, schema.names)
    index = schema.names.index(column)
    ref, type_ = f"c{index}", schema.field(index).type
    for name in fields:
        names = [type_.field(at).name for at in range(type_.num_fields)] if pa.types.is_struct(type_) else []
        # The engine tells fields apart without regard to case.
        if [known.lower() for known in names].count(name.lower()) != 1 or name not in names:
            raise _unknown(comparison, "field", name, names)
        ref, type_ = f"struct_extract({ref}, {_quoted(name)})", type_.field(name).type
    return ref, type_


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "''") + "'"


def _unknown(comparison: Comparison, what: str, name: str, known: Sequence[str]) -> Exception:
    shown = ", ".join(f"`{name}`" for name in known[:_SHOWN_COLUMNS]) or "none"
    return invalid_filter(
        f"The filter names {comparison.name}, but there is no {what} {name!r}", f"The {what}s there are: {shown}"
    )


def _form(comparison: Comparison, type_: pa.DataType) -> _Form:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    form = next((form for matches, form in _FORMS if matches(type_)), None)
    if form is None:
        raise invalid_filter(
            f"The filter compares {comparison.name}, which holds {type_}",
            "Compare texts, numbers, booleans and times, or fields of nested columns; any column can be IS NULL",
        )
    if comparison.op not in form.ops:
        raise invalid_filter(
            f"The filter orders {comparison.name}, which holds {type_}", f"Use one of {', '.join(form.ops)}"
        )
    return form


def _value(comparison: Comparison, type_: pa.DataType, form: _Form) -> Any:
    try:
        return form.parse(comparison.value)
    except (ValueError, InvalidOperation, OverflowError):
        raise invalid_filter(
            f"The filter compares {comparison.name}, which holds {type_}, with {comparison.value[:100]!r}",
            f"Compare it with {form.takes}",
        ) from None


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or value.adjusted() >= _DIGITS or exponent < -_DIGITS // 2:
        raise ValueError(text)
    return value


def _integer(text: str) -> int:
    value = _decimal(text)
    if value != value.to_integral_value():
        raise ValueError(text)
    return int(value)


def _float(text: str) -> float:
    value = float(text)
    if math.isnan(value):
        raise ValueError(text)
    return value


def _instant(text: str) -> datetime:
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _local_time(text: str) -> datetime:
    return _instant(text).replace(tzinfo=None)


def _is_big_decimal(type_: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(type_) and type_.precision > _DIGITS)


def _is_single(type_: pa.DataType) -> bool:
    return bool(pa.types.is_float16(type_) or pa.types.is_float32(type_))


def _has_zone(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_) and type_.tz is not None)


_NUMBER = "{ref} {op} CAST({value} AS DOUBLE) AND NOT isnan({ref})"
# A value that a narrow float holds rounded is meant as rounded: 0.1 finds 0.1.
_SINGLE = "{ref} {op} CAST({value} AS FLOAT) AND NOT isnan({ref})"
_FORMS: Sequence[tuple[Callable[[pa.DataType], bool], _Form]] = (
    (is_text, _Form(str, "a text", sql="CAST({ref} AS VARCHAR) {op} {value}")),
    (pa.types.is_boolean, _Form(_boolean, "true or false", _EQUALITIES)),
    (pa.types.is_integer, _Form(_integer, "a whole number of at most 38 digits")),
    (_is_single, _Form(_float, "a number", sql=_SINGLE)),
    (pa.types.is_floating, _Form(_float, "a number", sql=_NUMBER)),
    (_is_big_decimal, _Form(_float, "a number", sql=_NUMBER)),
    (pa.types.is_decimal, _Form(_decimal, "a number of at most 38 digits, 19 of them behind the point")),
    (pa.types.is_date, _Form(date.fromisoformat, 'a date like "2026-01-31"')),
    (_has_zone, _Form(_instant, 'a time like "2026-01-31T12:00:00Z"')),
    (pa.types.is_timestamp, _Form(_local_time, 'a time like "2026-01-31T12:00:00"')),
    (pa.types.is_time, _Form(time.fromisoformat, 'a time of day like "12:00:00"')),
)

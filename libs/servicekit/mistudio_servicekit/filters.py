"""A small subset of AIP-160 filters: `field op value`, joined by AND; for SQL and for plain objects alike.

A field that holds text by key, such as labels, is compared key by key: `labels.team = "vision"`; a key of other
characters stands in backticks or quotes: ``labels.`example.com/team` = "vision"``.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mistudio_servicekit.errors import InvalidFilter

if TYPE_CHECKING:  # a process without a database, such as the gateway, filters too
    from sqlalchemy import ColumnElement

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TERM = re.compile(
    r"\s*(?P<field>[a-z_][a-z0-9_]*)"
    r'(?:\.(?:(?P<key>[\w-]+)|`(?P<ticked>[^`]+)`|"(?P<quoted_key>(?:[^"\\]|\\.)+)"))?'
    r"\s*(?P<op>!=|<=|>=|=|<|>)\s*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"()]+))\s*'
)
_KEYED_OPERATORS = ("=", "!=")
_AND = re.compile(r"AND\b\s*")
_MAX_TERMS = 20


@dataclass(frozen=True)
class Term:
    """One comparison of a filter, with its value already of the field's type.

    Attributes:
        field: name of the field.
        op: one of `OPERATORS`.
        value: what the field, or the text under its `key`, is compared with.
        key: of a field that holds text by key; empty for any other.
    """

    field: str
    op: str
    value: Any
    key: str = ""

    def matches(self, actual: Any) -> bool:
        """Whether the field's `actual` value fulfils the comparison."""
        return bool(OPERATORS[self.op](actual, self.value))

    def condition(self, column: Any) -> ColumnElement[bool]:
        """The comparison in SQL; without the key, a text by key is unlike any value."""
        if not self.key:
            condition: ColumnElement[bool] = OPERATORS[self.op](column, self.value)
            return condition
        # Containment, which an index of the whole column serves.
        contains: ColumnElement[bool] = column.contains({self.key: self.value})
        return contains if self.op == "=" else ~contains


FieldParser = Callable[[str], Any]


class TextByKey:
    """The parser of a field that holds text by key, such as labels: its values are plain text."""

    def __call__(self, text: str) -> str:
        """The text itself."""
        return text


def parse_filter(text: str, fields: Mapping[str, FieldParser]) -> list[Term]:
    """The comparisons of `text`.

    Args:
        text: for example `status = READY AND rows > 1000`; empty has none.
        fields: allowed field names, each with what turns its text into a value (raising ValueError).

    Raises:
        InvalidFilter: it does not parse, names another field, or a value is not of its field's type.
    """
    terms: list[Term] = []
    rest = text.strip()
    while rest:
        found = _TERM.match(rest)
        if not found or len(terms) == _MAX_TERMS:
            raise _invalid(text, f"cannot be read at {rest[:40]!r}", fields)
        terms.append(_term(text, found, fields))
        rest = rest[found.end() :]
        joined = _AND.match(rest)
        if rest and (not joined or joined.end() == len(rest)):
            raise _invalid(text, f"cannot be read at {rest[:40]!r}", fields)
        rest = rest[joined.end() :] if joined else rest
    return terms


def _term(text: str, found: re.Match[str], fields: Mapping[str, FieldParser]) -> Term:
    name, op, bare = found["field"], found["op"], found["bare"]
    value = bare if bare is not None else _unescaped(found["quoted"])
    if name not in fields:
        raise _invalid(text, f"names the unknown field {name!r}", fields)
    key = _key(found)
    _check_key(text, name, key, op, fields)
    try:
        return Term(name, op, fields[name](value), key)
    except ValueError:
        raise _invalid(text, f"compares {name} with {value!r}, which is not of its type", fields) from None


def _key(found: re.Match[str]) -> str:
    """The key after the field's name; empty without one."""
    if found["quoted_key"] is not None:
        return _unescaped(found["quoted_key"])
    return found["key"] or found["ticked"] or ""


def _check_key(text: str, name: str, key: str, op: str, fields: Mapping[str, FieldParser]) -> None:
    keyed = isinstance(fields[name], TextByKey)
    if keyed and not key:
        raise _invalid(text, f"compares all of {name}, where one key must be named as in {name}.team", fields)
    if key and not keyed:
        raise _invalid(text, f"names {key!r} in {name}, which has no keys", fields)
    if keyed and op not in _KEYED_OPERATORS:
        raise _invalid(text, f"compares {name}.{key} by {op}, where {' and '.join(_KEYED_OPERATORS)} are known", fields)


def _unescaped(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted)


def _invalid(text: str, problem: str, fields: Mapping[str, FieldParser]) -> InvalidFilter:
    names = ", ".join(f"{name}.<key>" if isinstance(fields[name], TextByKey) else name for name in sorted(fields))
    return InvalidFilter(
        f"filter {text!r} {problem}",
        next_step=f'Join comparisons like `created_at > "2026-01-31T00:00:00Z"` by AND, over {names}',
        field="filter",
    )


def conditions(terms: list[Term], columns: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """The comparisons as SQL conditions on `columns` by field name."""
    return [term.condition(columns[term.field]) for term in terms]


def time_value(text: str) -> datetime:
    """An RFC 3339 time with its zone."""
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        raise ValueError(text)
    return parsed


def whole_number(text: str) -> int:
    """A whole number that fits into 64 bits, as the database's columns do."""
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(text)
    return value


def yes_or_no(text: str) -> bool:
    """`true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def choice_of(*values: str) -> FieldParser:
    """A parser that takes just these words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(text)
        return text

    return parse


def uuid_value(text: str) -> UUID:
    """A UUID."""
    return UUID(text)

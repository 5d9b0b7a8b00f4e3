"""A small subset of AIP-160 filters: `field op value`, joined by AND; for SQL and for plain objects alike."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement

from mistudio_servicekit.errors import InvalidFilter

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TERM = re.compile(
    r"\s*(?P<field>[a-z_][a-z0-9_]*)\s*(?P<op>!=|<=|>=|=|<|>)\s*"
    r'(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"()]+))\s*'
)
_AND = re.compile(r"AND\b\s*")
_MAX_TERMS = 20


@dataclass(frozen=True)
class Term:
    """One comparison of a filter, with its value already of the field's type."""

    field: str
    op: str
    value: Any

    def matches(self, actual: Any) -> bool:
        """Whether the field's `actual` value fulfils the comparison."""
        return bool(OPERATORS[self.op](actual, self.value))


FieldParser = Callable[[str], Any]


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
    name, bare = found["field"], found["bare"]
    value = bare if bare is not None else re.sub(r"\\(.)", r"\1", found["quoted"])
    if name not in fields:
        raise _invalid(text, f"names the unknown field {name!r}", fields)
    try:
        return Term(name, found["op"], fields[name](value))
    except ValueError:
        raise _invalid(text, f"compares {name} with {value!r}, which is not of its type", fields) from None


def _invalid(text: str, problem: str, fields: Mapping[str, FieldParser]) -> InvalidFilter:
    names = ", ".join(sorted(fields))
    return InvalidFilter(
        f"filter {text!r} {problem}",
        next_step=f'Join comparisons like `created_at > "2026-01-31T00:00:00Z"` by AND, over {names}',
        field="filter",
    )


def conditions(terms: list[Term], columns: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    """The comparisons as SQL conditions on `columns` by field name."""
    return [OPERATORS[term.op](columns[term.field], term.value) for term in terms]


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

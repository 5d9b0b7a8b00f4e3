"""Filters over column values: `lang = "en" AND meta.url IS NOT NULL`, read into comparisons."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mistudio_servicekit.errors import InvalidFilter

_NAME = r"(?:`(?:[^`]|``)+`|[^\W\d]\w*)"
_TERM = re.compile(
    rf"(?P<path>{_NAME}(?:\s*\.\s*{_NAME})*)\s*"
    r"(?:(?P<null>(?i:IS)\s+(?:(?P<not>(?i:NOT))\s+)?(?i:NULL)\b)"
    r'|(?P<op>!=|<=|>=|=|<|>)\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"`()]+)))\s*',
    re.DOTALL,
)
_AND = re.compile(r"(?i:AND)\b\s*")
_MOST_COMPARISONS = 20
_SHOWN_CHARACTERS = 200

IS_NULL = "IS NULL"
IS_NOT_NULL = "IS NOT NULL"


@dataclass(frozen=True)
class Comparison:
    """One comparison of a filter.

    Attributes:
        path: the column, then fields of nested columns.
        op: `=`, `!=`, `<`, `<=`, `>`, `>=`, or `IS NULL`, `IS NOT NULL`, which have no value.
        value: the text that stands behind the operator, without its quotes.
    """

    path: tuple[str, ...]
    op: str
    value: str = ""

    @property
    def name(self) -> str:
        """The column and its fields as the filter may name them."""
        return ".".join(part if re.fullmatch(r"[^\W\d]\w*", part) else f"`{part}`" for part in self.path)


def parse_filter(text: str) -> list[Comparison]:
    """The comparisons of `text`, all of which must hold; none in an empty one.

    Raises:
        InvalidFilter: it does not parse, or has more than 20 comparisons.
    """
    comparisons: list[Comparison] = []
    position, end = _behind_spaces(text, 0), len(text)
    while position < end:
        found = _TERM.match(text, position)
        if not found or len(comparisons) == _MOST_COMPARISONS:
            raise _unreadable(text, position)
        comparisons.append(_comparison(found))
        position = found.end()
        joined = _AND.match(text, position)
        if position < end and (not joined or joined.end() == end):
            raise _unreadable(text, position)
        position = joined.end() if joined else position
    return comparisons


def invalid_filter(problem: str, next_step: str) -> InvalidFilter:
    """The error for a filter that cannot be meant."""
    return InvalidFilter(problem, next_step=next_step, field="query.filter")


def _behind_spaces(text: str, position: int) -> int:
    return len(text) - len(text[position:].lstrip())


def _comparison(found: re.Match[str]) -> Comparison:
    path = tuple(_plain(name) for name in re.findall(_NAME, found["path"]))
    if found["null"]:
        return Comparison(path, IS_NOT_NULL if found["not"] else IS_NULL)
    quoted = found["quoted"]
    return Comparison(path, found["op"], found["bare"] if quoted is None else re.sub(r"(?s)\\(.)", r"\1", quoted))


def _plain(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


def _unreadable(text: str, position: int) -> InvalidFilter:
    return invalid_filter(
        f"The filter {text[:_SHOWN_CHARACTERS]!r} cannot be read at character {position + 1}: "
        f"{text[position : position + 40]!r}",
        f'Join at most {_MOST_COMPARISONS} comparisons like `score >= 0.5`, `lang = "en"` or `url IS NOT NULL` by AND',
    )

"""Searches in text as SQL: any characters at all, or regular expressions that take linear time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mistudio_datasets.data.browsing.query_conditions import Condition
from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.ranking.words import Phrase
from mistudio_datasets.domain.datasets import ColumnKind, Layout
from mistudio_datasets.domain.sample_queries import SampleQuery
from mistudio_servicekit.errors import ColumnNotFound, InvalidSearch

MOST_POSITIONS = 500
"""Most characters that a regular expression may look for once its repetitions are written out: a pattern that must be
followed through all of them at once takes this many steps a character."""

_REASONS = {
    "invalid escape sequence": "a backslash stands before a character that has no such meaning",
    "invalid character class": "a class in brackets is not one",
    "missing ]": "a bracket is not closed",
    "missing )": "a parenthesis is not closed",
    "unexpected )": "a parenthesis is closed that was not opened",
    "trailing \\": "it ends in a single backslash",
    "no argument for repetition operator": "a repetition stands behind nothing that it could repeat",
    "invalid repetition size": "a repetition counts beyond 1,000 or backwards",
    "bad repetition operator": "one repetition follows another",
    "invalid perl operator": "look-around and the like are not supported",
    "invalid named capture group": "the name of a group is none",
    "pattern too large": "it grows too large when its repetitions are written out",
}
_BETWEEN_WORDS = r"[^\pL\pN_]*"
_TOKEN = re.compile(r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d+)(,?)(\d*)\}|.", re.DOTALL)


@dataclass(frozen=True)
class TextSearch:
    """A search in columns.

    Attributes:
        columns: searched columns.
        pattern: RE2 pattern that finds the same as `needle`.
        needle: the text as it was given, where letters count in their case; otherwise empty.
        ignore_case: whether letters count in any case.
    """

    columns: tuple[str, ...]
    pattern: str
    needle: str = ""
    ignore_case: bool = False

    def condition(self, names: Sequence[str]) -> Condition:
        """The search as a condition; `names` are all columns in the schema's order."""
        refs = [f"CAST(c{names.index(column)} AS VARCHAR)" for column in self.columns]
        if self.needle:
            return Condition(" OR ".join(f"contains({ref}, $search)" for ref in refs), {"search": self.needle})
        option = ", 'i'" if self.ignore_case else ""
        found = (f"regexp_matches({ref}, $search{option})" for ref in refs)
        return Condition(" OR ".join(found), {"search": self.pattern})


def text_search(query: SampleQuery, layout: Layout, engine: QueryEngine) -> TextSearch | None:
    """What the query looks for in text; None if nothing.

    Raises:
        InvalidSearch: the regular expression is wrong or too large, or a column holds no text, or none does.
        ColumnNotFound: there is no such column.
    """
    if not (query.contains or query.regex):
        return None
    columns = searched_columns(layout, query.search_columns)
    if query.regex:
        _check_regex(engine, query.regex)
        return TextSearch(columns, query.regex, ignore_case=query.ignore_case)
    needle = "" if query.ignore_case else query.contains
    return TextSearch(columns, re.escape(query.contains), needle, query.ignore_case)


def word_search(phrases: Sequence[Phrase], layout: Layout, wanted: Sequence[str]) -> TextSearch | None:
    """Finds in text columns, all or those of `wanted`, where a search for words has hit; None where there are none.

    It shows, and decides nothing: of text in another Unicode form than the words it finds no place.
    """
    texts = (column.name for column in layout.columns if column.kind is ColumnKind.TEXT)
    columns = tuple(name for name in texts if not wanted or name in wanted)
    pattern = "|".join(_BETWEEN_WORDS.join(map(_word_pattern, phrase)) for phrase in phrases)
    return TextSearch(columns, pattern, ignore_case=True) if columns else None


def _word_pattern(word: str) -> str:
    # RE2 knows the bounds of ASCII words only.
    return rf"\b{re.escape(word)}\b" if word.isascii() else re.escape(word)


def searched_columns(layout: Layout, wanted: Sequence[str]) -> tuple[str, ...]:
    """`wanted`, or every column that holds text; raises `ColumnNotFound` and `InvalidSearch`."""
    kinds = {column.name: column.kind for column in layout.columns}
    texts = tuple(name for name, kind in kinds.items() if kind is ColumnKind.TEXT)
    shown = ", ".join(map(repr, texts)) or "none"
    for name in wanted:
        if name not in kinds:
            raise column_not_found(name, layout, "query.search_columns")
        if name not in texts:
            raise InvalidSearch(
                f"The column {name!r} holds no text to search in",
                next_step=f"Choose columns that hold text: {shown}",
                field="query.search_columns",
            )
    if not texts:
        raise InvalidSearch(
            "No column of the dataset holds text to search in", next_step="Use query.filter", field="query"
        )
    return tuple(dict.fromkeys(wanted)) or texts


def column_not_found(name: str, layout: Layout, field: str) -> ColumnNotFound:
    """The error for an unknown column, naming those that exist."""
    known = [column.name for column in layout.columns]
    return ColumnNotFound(
        f"There is no column {name!r}",
        next_step=f"Choose one of {', '.join(map(repr, known[:50]))}",
        field=field,
        metadata={"column": name, "columns": ",".join(known[:50])},
    )


def _check_regex(engine: QueryEngine, pattern: str) -> None:
    fault = engine.regex_fault(pattern)
    if fault:
        reason = next((said for begin, said in _REASONS.items() if fault.startswith(begin)), "it does not parse")
        raise _invalid_regex(pattern, f"is no regular expression: {reason}")
    size = positions(pattern)
    if size > MOST_POSITIONS:
        raise _invalid_regex(pattern, f"looks for {size:,} characters in a row, of which {MOST_POSITIONS} are allowed")


def _invalid_regex(pattern: str, problem: str) -> InvalidSearch:
    return InvalidSearch(
        f"query.regex {pattern[:200]!r} {problem}",
        next_step="Use RE2 syntax (https://github.com/google/re2/wiki/Syntax) with small repetitions",
        field="query.regex",
    )


def positions(pattern: str) -> int:
    """Characters that a valid `pattern` looks for once its counted repetitions are written out, about."""
    sums, last = [0], 0
    for token in _TOKEN.finditer(pattern):
        text, least, comma, most = token[0], *token.groups()
        if text == "(":
            sums.append(0)
        elif text == ")" and len(sums) > 1:
            last = sums.pop()
            sums[-1] += last
        elif least is not None:
            sums[-1] += last * max(0, int(most or least) - (0 if comma and not most else 1))
        else:
            last = len(text) - 4 if text.startswith("\\Q") else 1
            sums[-1] += last
    return sum(sums)

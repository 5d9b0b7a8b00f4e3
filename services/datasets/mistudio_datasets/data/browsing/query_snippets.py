"""Where a search found something: the text around the first match in a cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mistudio_datasets.data.browsing.query_engine import QueryEngine, Stop
from mistudio_datasets.data.browsing.query_search import TextSearch

SNIPPET_CHARACTERS = 200

_FIRST_MATCHES = """
WITH texts AS (SELECT unnest($texts) AS whole),
found AS (
    SELECT whole IS NOT NULL AND regexp_matches(whole, $pattern) AS hit,
        regexp_extract(whole, $parting, ['before', 'match']) AS parts
    FROM texts
)
SELECT CASE WHEN hit THEN length(parts.before) END AS start, length(parts."match") AS size FROM found
"""


@dataclass(frozen=True)
class Snippet:
    """Text around a match in a column; the match is `text[match_start:match_end]`, cut where it is longer."""

    column: str
    text: str
    match_start: int
    match_end: int


def snippets(engine: QueryEngine, search: TextSearch, column: str, texts: Sequence[str | None]) -> list[Snippet | None]:
    """The snippet of each of `texts`, which are cells of `column`; None where nothing is found."""
    return [
        None if text is None or found is None else _snippet(column, text, *found)
        for text, found in zip(texts, _first_matches(engine, search, texts), strict=True)
    ]


def _first_matches(
    engine: QueryEngine, search: TextSearch, texts: Sequence[str | None]
) -> list[tuple[int, int] | None]:
    """Start and size of the first match of each text, in characters."""
    if search.needle:
        starts = [-1 if text is None else text.find(search.needle) for text in texts]
        return [(start, len(search.needle)) if start >= 0 else None for start in starts]
    pattern = f"(?i:{search.pattern})" if search.ignore_case else f"(?:{search.pattern})"
    # What stands before the match is as short as can be, which makes it the first one.
    parameters = {"texts": list(texts), "pattern": pattern, "parting": rf"(?s:\A(.*?))({pattern})"}
    table = engine.table(_FIRST_MATCHES, parameters, Stop())
    return [None if match["start"] is None else (match["start"], match["size"]) for match in table.to_pylist()]


def _snippet(column: str, text: str, start: int, size: int) -> Snippet:
    size = min(size, SNIPPET_CHARACTERS)
    room = SNIPPET_CHARACTERS - size
    begin = max(0, min(start - room // 2, len(text) - SNIPPET_CHARACTERS))
    return Snippet(column, text[begin : begin + SNIPPET_CHARACTERS], start - begin, start - begin + size)

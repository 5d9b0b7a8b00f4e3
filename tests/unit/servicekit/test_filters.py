"""Filters take a small, exact subset of AIP-160."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistudio_servicekit.errors import InvalidFilter
from mistudio_servicekit.filters import FieldParser, TextByKey, choice_of, parse_filter, time_value

FIELDS: dict[str, FieldParser] = {
    "status": choice_of("READY", "ERROR"),
    "rows": int,
    "name": str,
    "created_at": time_value,
    "labels": TextByKey(),
}


def test_comparisons_are_joined_by_and_and_typed() -> None:
    terms = parse_filter('status = READY AND created_at > "2026-01-31T00:00:00Z" AND rows<=10', FIELDS)
    assert [(t.field, t.op, t.value) for t in terms] == [
        ("status", "=", "READY"),
        ("created_at", ">", datetime(2026, 1, 31, tzinfo=UTC)),
        ("rows", "<=", 10),
    ]


def test_a_quoted_value_may_hold_quotes_spaces_and_keywords() -> None:
    (term,) = parse_filter(r'name = "a \"b\" AND c"', FIELDS)
    assert term.value == 'a "b" AND c'


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("labels.team = vision", "team", "vision"),
        ('labels.my-team_2="two words"', "my-team_2", "two words"),
        ('labels.`example.com/team name` = "x"', "example.com/team name", "x"),
        (r'labels."a \"b\"" != x', 'a "b"', "x"),
    ],
)
def test_a_text_by_key_is_compared_under_its_key(text: str, key: str, value: str) -> None:
    (term,) = parse_filter(text, FIELDS)
    assert (term.field, term.key, term.value) == ("labels", key, value)


@pytest.mark.parametrize(
    "text",
    ["labels = x", "labels. = x", "labels.`` = x", "labels.team > x", "name.team = x", "labels.a.b = x",
     "status", "status =", "status = READY AND", "status = READY OR rows = 1", "colour = red", "rows = many",
     "status = GONE", "created_at > 2026-01-31T00:00:00", "status = READY rows = 1", 'name = "open', "AND"],
)  # fmt: skip
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(text, FIELDS)
    assert repr(text) in caught.value.message
    assert caught.value.field == "filter"


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse_filter(text, FIELDS)
    except InvalidFilter:
        return

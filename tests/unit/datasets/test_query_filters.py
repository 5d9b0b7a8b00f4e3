import pyarrow as pa
import pytest

from mistudio_datasets.data.browsing.query_conditions import filter_condition
from mistudio_datasets.data.browsing.query_filter import Comparison, parse_filter
from mistudio_servicekit.errors import InvalidFilter


def test_comparisons_are_joined_by_and() -> None:
    assert parse_filter('lang = "en" AND score >= 0.5 and meta.url IS NOT NULL AND x is null') == [
        Comparison(("lang",), "=", "en"),
        Comparison(("score",), ">=", "0.5"),
        Comparison(("meta", "url"), "IS NOT NULL"),
        Comparison(("x",), "IS NULL"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('`a column` != "x"', Comparison(("a column",), "!=", "x")),
        ("`a``b`.`c.d` < 1", Comparison(("a`b", "c.d"), "<", "1")),
        ('t = "say \\"AND\\" \\\\"', Comparison(("t",), "=", 'say "AND" \\')),
        ('名 = "針"', Comparison(("名",), "=", "針")),
        ('t = ""', Comparison(("t",), "=", "")),
        ('t="a\nb"', Comparison(("t",), "=", "a\nb")),
        ("  n>-1.5e3  ", Comparison(("n",), ">", "-1.5e3")),
    ],
)
def test_names_and_values_may_hold_anything(text: str, expected: Comparison) -> None:
    assert parse_filter(text) == [expected]


def test_an_empty_filter_asks_for_nothing() -> None:
    assert parse_filter("  ") == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("lang", "character 1"),
        ("lang = ", "character 1"),
        ('lang = "en', "character 1"),
        ("a = 1 AND", "character 7"),
        ("a = 1 OR b = 2", "character 7: 'OR b = 2'"),
        ("a = 1 b = 2", "character 7"),
        ("a LIKE 3", "character 1"),
        ("a = 1; DROP TABLE x", "character 8"),
        (" AND ".join(["a = 1"] * 21), "at most 20"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(InvalidFilter, match=place) as refused:
        parse_filter(text)
    assert refused.value.field == "query.filter"


META = pa.struct([("url", pa.string()), ("O'Neil", pa.int64()), ("a", pa.int64()), ("A", pa.int64())])
TYPES: dict[str, pa.DataType] = {
    "n": pa.int64(),
    "x": pa.float32(),
    "d": pa.decimal128(10, 2),
    "ok": pa.bool_(),
    "t": pa.string(),
    "day": pa.date32(),
    "at": pa.timestamp("us"),
    "raw": pa.binary(),
    "meta": META,
}
SCHEMA = pa.schema(TYPES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lang = 1", "no column 'lang'.*`n`, `x`"),
        ("meta.nope = 1", "no field 'nope'.*`url`"),
        ("meta.a = 1", "no field 'a'"),
        ("n.a = 1", "no field 'a'.*none"),
        ("n = some", "holds int64, with 'some'.*whole number"),
        ("n = 0.5", "whole number"),
        ("n = " + "9" * 39, "38 digits"),
        ("n = nan", "whole number"),
        ("x = nan", "a number"),
        ("d = 1e-30", "behind the point"),
        ("ok = yes", "true or false"),
        ("ok < true", "orders ok.*=, !="),
        ("day = tomorrow", "a date like"),
        ('at > "2026-13-01"', "a time like"),
        ("raw = 1", "which holds binary"),
        ("meta = 1", "fields of nested columns"),
    ],
)
def test_what_a_column_cannot_hold_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidFilter, match=f"(?s){said}"):
        filter_condition(text, SCHEMA)


def test_no_text_of_a_client_becomes_sql() -> None:
    condition = filter_condition("t = \"'; DROP TABLE x; --\" AND meta.`O'Neil` = 5 AND `raw` IS NULL", SCHEMA)
    assert condition is not None
    assert condition.sql == (
        "(CAST(c4 AS VARCHAR) = $value0) AND (struct_extract(c8, 'O''Neil') = $value1) AND (c7 IS NULL)"
    )
    assert condition.parameters == {"value0": "'; DROP TABLE x; --", "value1": 5}

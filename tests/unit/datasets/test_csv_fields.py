from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.incoming.csv_rows import sniff_delimiter
from mistudio_datasets.data.incoming.csv_values import observe_fields, typed_field, values_of_type
from mistudio_datasets.data.incoming.shapes import Shape


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-3", -3), ("1.5", 1.5), ("-2e3", -2000.0), ("true", True), ("False", False), ("abc", "abc")],
)
def test_plain_values_get_their_type(text: str, value: object) -> None:
    assert typed_field(text) == value
    assert type(typed_field(text)) is type(value)


@pytest.mark.parametrize(
    "text", ["007", "+1", "1,5", "1e999", "-0", " 1", "1_000", "٣", "1٣", "nan", ".", "-", "e5", "-E10", "1."]
)
def test_texts_that_a_number_would_not_give_back_stay_text(text: str) -> None:
    assert typed_field(text) == text


@pytest.mark.parametrize(
    ("head", "delimiter"),
    [
        (b"a,b\n1,2\n", ","),
        (b"a;b\n1,5;2,5\n3,1;4\n", ";"),
        (b"a\tb\nx, y\tz\n", "\t"),
        (b"a|b|c\n1|2|3\n", "|"),
        (b'a,b\n"x;y;z",2\n"p;q;r",4\n', ","),
        (b"only\none\n", ","),
    ],
)
def test_the_delimiter_is_found(head: bytes, delimiter: str) -> None:
    assert sniff_delimiter(head) == delimiter


ODD_FIELDS = [
    "0", "-0", "7", "-7", "007", "00", "-07", "+1", " 1", "1 ", "1_000", "0x1A", "9007199254740992", "9007199254740993",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "9" * 19, "9" * 30,
    "0.5", "-0.0", ".5", "5.", "1e5", "1E+5", "1e400", "-1e400", "1e-400", "5e-324", "1e22", "nan", "inf", "Infinity",
    "true", "True", "TRUE", "tRue", "false", "٣", "1\0", "\0", "1\n", "x", "2020-01-01",
]  # fmt: skip
numbers = st.integers(-(2**66), 2**66).map(str) | st.floats().map(repr)
plain_numbers = st.integers(-999, 999).map(str) | st.floats(-1e6, 1e6).map(repr)
field = st.sampled_from(ODD_FIELDS) | numbers | st.text(max_size=3)
columns = [
    st.lists(st.none() | each, min_size=1, max_size=5)
    for each in (field, numbers, plain_numbers, st.integers().map(str), st.sampled_from(["true", "FALSE"]))
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(columns), max_size=3))
def test_a_column_read_at_once_has_the_type_and_values_of_its_fields(blocks: list[list[str | None]]) -> None:
    at_once, one_by_one = Shape(), Shape()
    for fields in blocks:
        observe_fields(at_once, pa.array(fields, pa.string()))
        for each in fields:
            one_by_one.observe(None if each is None else typed_field(each))
        assert at_once.arrow_type() == one_by_one.arrow_type()
    type_ = at_once.arrow_type()
    fields = [each for block in blocks for each in block]
    as_text = pa.types.is_string(type_)
    wanted = pa.array([each if each is None or as_text else typed_field(each) for each in fields], type_)
    found = values_of_type(pa.chunked_array([pa.array(fields, pa.string())]), type_)
    assert repr(pa.table([found], ["v"]).to_pylist()) == repr(pa.table([wanted], ["v"]).to_pylist())

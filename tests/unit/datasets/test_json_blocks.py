"""Whatever Arrow's parser takes is what the reader of single lines finds; what it must not take is left to that."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.incoming.json_blocks import parse_json_lines
from mistudio_datasets.data.incoming.shapes import Shape

TAUGHT: dict[str, Any] = {
    "i": 1,
    "f": 0.5,
    "t": "x",
    "b": True,
    "n": None,
    "l": ["x"],
    "m": [[0.5]],
    "r": {"i": 1, "t": "x", "l": [{"f": 0.5, "t": None}]},
    "mixed": 1,
}
ODD_NUMBERS = [
    "-0", "-0.0", "-0e0", "9007199254740992", "9007199254740993", "9223372036854775808", "-9223372036854775809",
    "1e400", "1e-400", "5e-324", "NaN", "Infinity", "-Infinity", "Inf", "-NaN", "007", "1.", "+1", ".5", "9" * 5000,
]  # fmt: skip
ODD_TEXTS = [
    '"\\ud800"', '"\\udc00"', '"\\ud83d\\ude00"', '"\\ud83dx"', '"\\u0000"', '"2020-01-01"', '"\x01"', '"\\x"',
    '"}\\n{"', '"-0,"', '"\x7f\u2028"', '"1"',
]  # fmt: skip
ODD_LINES = [
    b"", b" ", b"null", b"[]", b"{}", b'{"i": 1} {"i": 2}', b"{}null{}", b'{"i": 1', b'{"i": 1, "i": 2}', b'{"new": 1}',
    b'{"r": {"t": "x", "\\u0074": "y"}}', b'{"t": "\xff"}', b'{"t": "\xed\xa0\x80"}', b'{"t": "a\0b"}', b'{"i": 1}\0',
    b'{"i\\u0000": 1}', b'{"l": [null, "x", null]}', b'{"r": {"l": [null, {"f": null}]}}', b'{"n": 1}',
    b'{"l": ' + b"[" * 300 + b"]" * 300 + b"}", b"\xef\xbb\xbf{}", b'{"i": 1 // one\n}', b'{"\\ud800": 1}',
]  # fmt: skip

LATER: list[dict[str, Any]] = [{}, {"i": 0.5, "r": {"i": 0.5}}, {"mixed": {}}, {"f": 2**60}]

numbers = st.integers(-(2**66), 2**66).map(str) | st.floats().map(json.dumps) | st.sampled_from(ODD_NUMBERS)
texts = st.text(max_size=8).map(json.dumps) | st.sampled_from(ODD_TEXTS)
anything = numbers | texts | st.sampled_from(["true", "null", "[]", "{}", "[[1]]", '{"i": 1}'])


def mostly(value: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.integers(0, 60).flatmap(lambda roll: anything if roll == 0 else value if roll > 4 else st.just("null"))


def array(item: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(mostly(item), max_size=3).map(lambda items: f"[{', '.join(items)}]")


def record(**fields: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    chosen = st.fixed_dictionaries({}, optional={name: mostly(value) for name, value in fields.items()})
    return chosen.map(lambda values: "{" + ", ".join(f'"{name}": {value}' for name, value in values.items()) + "}")


small, fraction = st.integers(-(2**53), 2**53).map(str), st.floats(-1e9, 1e9).map(json.dumps)
clean_text = st.text(max_size=8).map(json.dumps) | st.text(max_size=8).map(
    lambda text: json.dumps(text, ensure_ascii=False)
)
nested = record(i=small, t=clean_text, l=array(record(f=fraction, t=st.just("null"))))
row = record(
    i=small, f=fraction | small, t=clean_text, b=st.sampled_from(["true", "false"]), n=st.just("null"),
    l=array(clean_text), m=array(array(fraction)), r=nested, mixed=clean_text,
)  # fmt: skip
clean_line = row.map(lambda text: text.encode("utf-8", "surrogatepass"))
line = st.integers(0, 30).flatmap(lambda roll: st.sampled_from(ODD_LINES) if roll == 0 else clean_line)
blocks = st.tuples(st.lists(line, min_size=1, max_size=6), st.sampled_from([b"\n", b"\n", b"\r\n"]), st.booleans())


def taught(*more: dict[str, Any]) -> Shape:
    shape = Shape()
    for seen in (TAUGHT, {"mixed": True}, *more):
        shape.observe(seen)
    return shape


def assert_read_as_single_lines_are(data: bytes) -> bool:
    """Whether the block was taken; then its rows, and what they make of the shape, are those of its lines."""
    table = parse_json_lines(data, taught().schema())
    if table is None:
        return False
    rows = [json.loads(each) for each in data.split(b"\n") if each]
    by_table, by_row = taught(), taught(*rows)
    by_table.observe_rows(table)
    wanted = [shape.fit_all([row.get(key) for row in rows]) for key, shape in by_row.fields.items()]
    assert repr(table.to_pylist()) == repr(pa.Table.from_arrays(wanted, schema=table.schema).to_pylist())
    for later in LATER:
        by_table.observe(later)
        by_row.observe(later)
        assert by_table.schema() == by_row.schema()
    return True


@settings(max_examples=300)
@given(blocks)
def test_a_block_that_is_taken_has_the_rows_of_its_lines(block: tuple[list[bytes], bytes, bool]) -> None:
    lines, end, is_ended = block
    assert_read_as_single_lines_are(end.join(lines) + (end if is_ended else b""))


CLEAN = [
    b'{"i": 1, "f": 0.5, "t": "caf\xc3\xa9"}\n{"t": "\\ud83d\\ude00", "r": {"i": 2, "l": [{"f": 1}, null]}}\n',
    b'{"t": "2020-01-01", "n": null}\r\n{"i": -9223372036854775808}\r\n',
    b'{"f": 1}\n{"f": -0.0}\n{"m": [[1, 0.5], [], null]}',
    b"{}\n{}\n",
]


@pytest.mark.parametrize("data", CLEAN)
def test_clean_lines_are_taken(data: bytes) -> None:
    assert assert_read_as_single_lines_are(data)


@pytest.mark.parametrize("line", [each for each in ODD_LINES if each not in (b"{}", b'{"l": [null, "x", null]}')])
@pytest.mark.parametrize("after", [b"\n", b'\n{"i": 3}\n', b""])
def test_lines_that_ask_for_care_are_not_taken(line: bytes, after: bytes) -> None:
    may_be_taken = line.startswith(b'{"r": {"l"')
    assert parse_json_lines(b'{"i": 1}\n' + line + after, taught().schema()) is None or may_be_taken or not line + after


@pytest.mark.parametrize("number", ["-0", "9007199254740993", "9" * 5000, "NaN", "Inf", "-Infinity", "1e400"])
def test_numbers_that_arrow_reads_in_its_own_way_are_not_taken(number: str) -> None:
    assert parse_json_lines(f'{{"f": 0.5}}\n{{"f": {number}}}\n'.encode(), taught().schema()) is None


def test_integers_with_more_digits_than_floats_have_are_remembered() -> None:
    table = parse_json_lines(b'{"i": 9007199254740993}\n', taught().schema()) or pytest.fail("not taken")
    shape = taught()
    shape.observe_rows(table)
    shape.observe({"i": 0.5})
    assert shape.schema().field("i").type == pa.string()

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from mistudio_datasets.data.incoming.shapes import MAX_KEYS, Shape


def column(*values: Any) -> pa.Array[Any]:
    shape = Shape()
    for value in values:
        shape.observe(value)
    return shape.fit_all(list(values))


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([1, None, 3], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([True, None], pa.bool_()),
        (["a", ""], pa.string()),
        ([None], pa.null()),
        ([[1], [], None], pa.list_(pa.int64())),
        ([{"a": 1}, {"b": "x"}], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        ([[], []], pa.list_(pa.null())),
    ],
)
def test_values_of_one_kind_keep_their_type(values: list[Any], type_: pa.DataType) -> None:
    assert column(*values).type == type_


def test_missing_keys_are_null() -> None:
    assert column({"a": 1}, {"b": "x"}).to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_values_that_do_not_fit_together_become_text() -> None:
    assert column("a", 1, True, None, [1, "x"], {"k": None}).to_pylist() == [
        "a", "1", "true", None, '[1, "x"]', '{"k": null}'
    ]  # fmt: skip


def test_mixed_values_inside_a_record_become_text_there_only() -> None:
    assert column({"a": 1, "b": 1}, {"a": 2, "b": "x"}).to_pylist() == [{"a": 1, "b": "1"}, {"a": 2, "b": "x"}]


def test_integers_keep_their_digits_beside_fractions() -> None:
    assert column(2**53 + 1, 0.5).to_pylist() == [str(2**53 + 1), "0.5"]


def test_integers_beyond_64_bits_become_text() -> None:
    assert column(2**64, 1).to_pylist() == [str(2**64), "1"]


def test_an_object_used_as_a_dictionary_becomes_json() -> None:
    rows = [{"counts": {f"word{n}": n}} for n in range(MAX_KEYS + 5)]
    assert column(*rows).to_pylist()[3] == {"counts": '{"word3": 3}'}


def test_very_deep_values_become_json() -> None:
    value: Any = 1
    for _ in range(40):
        value = [value]
    found = column(value)
    assert found.to_pylist() != [None]
    assert "[1]" in str(found.to_pylist())


def test_an_object_without_keys_becomes_json() -> None:
    assert column({}, {}).to_pylist() == ["{}", "{}"]

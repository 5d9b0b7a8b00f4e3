import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from mistudio_datasets.data.browsing.cells import CellCutter, describe_bytes


def shown(value: Any, budget: int = 1000) -> Any:
    result = CellCutter(budget).value(value)
    json.dumps(result, allow_nan=False)
    return result


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (2**53, 2**53),
        (2**53 + 1, str(2**53 + 1)),
        (float("nan"), "nan"),
        (Decimal("1.10"), "1.10"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        ([{"a": [1, None]}], [{"a": [1, None]}]),
    ],
)
def test_values_become_json_without_loss(value: Any, expected: Any) -> None:
    assert shown(value) == expected


def test_a_long_text_is_cut_and_its_whole_size_told() -> None:
    cutter = CellCutter(10)
    assert cutter.value("ä" * 100) == "ä" * 5
    assert (cutter.is_cut, cutter.size_bytes) == (True, 200)


def test_a_cut_never_splits_a_character() -> None:
    assert CellCutter(4).value("€€") == "€"


def test_a_long_list_is_cut_and_its_whole_size_told() -> None:
    cutter = CellCutter(90)
    assert cutter.value(list(range(1000))) == list(range(10))
    assert cutter.is_cut
    assert cutter.size_bytes == 9000


def test_a_cell_within_its_budget_is_not_marked() -> None:
    cutter = CellCutter(3)
    assert (cutter.value("abc"), cutter.is_cut) == ("abc", False)


@pytest.mark.parametrize(
    ("data", "kind", "form"),
    [
        (b"\x89PNG\r\n", "image", "png"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio", "wav"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image", "webp"),
        (b"\0\1\2", "binary", ""),
    ],
)
def test_bytes_are_described(data: bytes, kind: str, form: str) -> None:
    assert describe_bytes(data) == {"kind": kind, "format": form, "size_bytes": len(data)}


def test_a_stored_file_is_described_with_its_path() -> None:
    value = {"bytes": b"fLaC....", "path": "a.flac"}
    assert shown(value) == {"kind": "audio", "format": "flac", "size_bytes": 8, "path": "a.flac"}

"""How errors name many things."""

from __future__ import annotations

import pytest

from mistudio_servicekit.naming import first_of


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], ""),
        ([1], "1"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        (list("abcde"), "a, b and 3 more"),
    ],
)
def test_the_first_are_named_and_the_rest_counted(names: list[object], told: str) -> None:
    assert first_of(names, 2) == told

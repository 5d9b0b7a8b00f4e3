"""Sets of byte ranges, and their record on disk."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mistudio_hub.ranges import Journal, Ranges

SIZE = 60
SPANS = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, 20)).map(lambda s: (s[0], min(SIZE, s[0] + s[1]))))


def ranges_of(spans: list[tuple[int, int]]) -> Ranges:
    ranges = Ranges()
    for start, end in spans:
        ranges.add(start, end)
    return ranges


@given(SPANS, st.integers(1, SIZE))
def test_what_is_there_and_what_is_missing_make_the_whole_file_once(spans: list[tuple[int, int]], most: int) -> None:
    held = {byte for start, end in spans for byte in range(start, end)}
    ranges = ranges_of(spans)
    missing = list(ranges.missing(SIZE, most))
    gaps = [byte for start, end in missing for byte in range(start, end)]
    assert sorted([*held, *gaps]) == list(range(SIZE))
    assert all(0 < end - start <= most for start, end in missing)
    assert ranges.size == len(held)


@given(SPANS)
def test_the_prefix_ends_at_the_first_missing_byte(spans: list[tuple[int, int]]) -> None:
    held = {byte for start, end in spans for byte in range(start, end)}
    assert ranges_of(spans).prefix == next(byte for byte in range(SIZE + 1) if byte not in held)


def test_a_journal_gives_back_what_was_added(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "ranges")
    journal.add(0, 10)
    journal.add(20, 30)
    assert list(journal.read(40).missing(40, 100)) == [(10, 20), (30, 40)]


def test_a_torn_or_senseless_line_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "ranges"
    path.write_bytes(b"0 10\n5 1\n0 999\nx y\n\xff\n10 2")
    assert Journal(path).read(40).size == 10


def test_a_removed_journal_holds_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "ranges")
    journal.add(0, 10)
    journal.remove()
    journal.remove()
    assert journal.read(40).size == 0

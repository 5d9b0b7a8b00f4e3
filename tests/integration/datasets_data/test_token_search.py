import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.tokens.token_search import (
    TokenMatch,
    TokenTotals,
    count_matches,
    find_matches,
    known_totals,
)
from mistudio_servicekit.errors import JobCancelled

from .stored_tokens import store_tokens


def go_on() -> None:
    return


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="token-search-") as folder:
        yield Path(folder)


def plain_matches(documents: Sequence[Sequence[int]], query: Sequence[int]) -> list[tuple[int, int]]:
    return [
        (number, at)
        for number, document in enumerate(documents)
        for at in range(len(document) - len(query) + 1)
        if list(document[at : at + len(query)]) == list(query)
    ]


@settings(max_examples=150)
@given(
    documents=st.lists(st.lists(st.integers(0, 3), max_size=9), max_size=20),
    query=st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple),
    batch=st.integers(1, 7),
    limit=st.integers(1, 5),
    context=st.integers(0, 3),
)
def test_pages_hold_every_place_where_the_ids_follow_one_another_in_a_document(
    scratch: Path, documents: list[list[int]], query: tuple[int, ...], batch: int, limit: int, context: int
) -> None:
    folder = store_tokens(Path(tempfile.mkdtemp(dir=scratch)), documents, batch=batch, shard_bytes=300)
    expected = plain_matches(documents, query)
    first = 0
    found: list[TokenMatch] = []
    while True:
        page = find_matches(folder, query, first, limit, context, go_on)
        assert page.next_token is None or len(page.matches) == limit
        found += page.matches
        if page.next_token is None:
            break
        first = page.next_token
    assert [(match.document, match.position) for match in found] == expected
    for match in found:
        document, end = documents[match.document], match.position + len(query)
        assert match.token_ids[match.match_start : match.match_end] == query
        assert list(match.token_ids) == document[max(0, match.position - context) : end + context]
        assert match.match_start == min(context, match.position)
        assert match.tokens == tuple(f"<{id_}>" for id_ in match.token_ids)
    totals = count_matches(folder, query, go_on)
    assert totals == TokenTotals(len(expected), len({document for document, _ in expected}))
    assert known_totals(folder, query) == totals


def test_ids_on_both_sides_of_a_documents_end_are_no_match(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "out", [[7, 8], [9], [], [8, 9, 8]])
    assert find_matches(folder, (8, 9), 0, 10, 5, go_on).matches[0].document == 3
    assert count_matches(folder, (8, 9), go_on) == TokenTotals(1, 1)


def test_a_search_stops_when_it_should(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "out", [[1, 2, 3]] * 200, batch=1)

    def stop() -> None:
        raise JobCancelled("The job was cancelled", next_step="Start it again")

    with pytest.raises(JobCancelled):
        find_matches(folder, (1, 2), 0, 500, 0, stop)
    with pytest.raises(JobCancelled):
        count_matches(folder, (1, 2), stop)
    assert known_totals(folder, (1, 2)) is None


def test_ids_that_no_document_has_are_found_nowhere_without_reading(tmp_path: Path) -> None:
    folder = store_tokens(tmp_path / "out", [[1, 2, 3]])
    for shard in folder.glob("data-*.arrow"):
        assert count_matches(folder, (1, 49), go_on) == TokenTotals(0, 0)
        shard.unlink()
    assert find_matches(folder, (2, 49), 0, 5, 5, go_on).matches == ()

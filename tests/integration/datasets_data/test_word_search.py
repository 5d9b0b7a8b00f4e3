"""Searching for words, by the index and by reading every row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.incoming.schema import columns_of
from mistudio_datasets.data.ranking import word_index, word_scan
from mistudio_datasets.data.ranking.ranked import RankedPage
from mistudio_datasets.data.ranking.word_index import OpenIndexes, build_word_index
from mistudio_datasets.data.ranking.word_scan import scan_for_words
from mistudio_datasets.data.ranking.word_texts import text_columns
from mistudio_datasets.data.ranking.words import phrases_of
from mistudio_datasets.domain.datasets import DataFormat, Layout, SplitInfo
from mistudio_datasets.domain.progress import UNWATCHED, Monitor
from mistudio_servicekit.errors import ColumnNotFound, InvalidSearch, JobCancelled


class Searched:
    """A dataset with a word index."""

    def __init__(self, folder: Path, **splits: Sequence[pa.Table]) -> None:
        self.folder, self.index = folder / "dataset", folder / "index"
        self.folder.mkdir(parents=True)
        infos = []
        for split, tables in splits.items():
            files = tuple(f"{split}-{number}.parquet" for number in range(len(tables)))
            for name, table in zip(files, tables, strict=True):
                pq.write_table(table, self.folder / name, row_group_size=max(7, len(table) // 20))
            rows = tuple(len(table) for table in tables)
            infos.append(SplitInfo(split, sum(rows), 0, files, rows))
        schema = pq.ParquetFile(self.folder / infos[0].files[0]).schema_arrow
        self.layout = Layout("", DataFormat.PARQUET, tuple(infos), columns_of(schema))

    def build(self, monitor: Monitor = UNWATCHED) -> Searched:
        self.index.mkdir()
        build_word_index(self.folder, self.layout, self.index, monitor)
        return self

    def by_index(self, words: str, split: str = "train", keep: Any = None, page: tuple[int, int] = (0, 1000), *columns):
        index = OpenIndexes().get(self.index, split)
        return index.search(phrases_of(words), text_columns(self.folder, self.layout, columns), keep, *page)

    def by_scan(self, words: str, split: str = "train", keep: Any = None, page: tuple[int, int] = (0, 1000), *columns):
        searched = text_columns(self.folder, self.layout, columns)
        info = self.layout.split(split)
        return scan_for_words(self.folder, info, phrases_of(words), searched, keep, *page, lambda: None)


def _texts(*texts: str | None) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string())})


def _nearly_the_same_order(a: RankedPage, b: RankedPage) -> None:
    """Both have the same rows with about the same scores, each in its own order of scores."""
    assert a.total == b.total == len(a.rows) == len(b.rows)
    assert set(a.rows) == set(b.rows)
    assert list(a.scores) == sorted(a.scores, reverse=True)
    assert list(b.scores) == sorted(b.scores, reverse=True)
    found = dict(zip(b.rows, b.scores, strict=True))
    assert [found[row] for row in a.rows] == pytest.approx(a.scores, rel=0.05)


def test_rows_with_more_and_rarer_words_come_first(tmp_path: Path) -> None:
    common = [f"the house number {number}" for number in range(30)]
    searched = Searched(tmp_path, train=[_texts(*common, "the zebra", "a zebra in the house", None, "")]).build()
    for page in (searched.by_index("the zebra house"), searched.by_scan("the zebra house")):
        assert page.total == 32
        assert set(page.rows[:2]) == {30, 31}
    _nearly_the_same_order(searched.by_index("the zebra house"), searched.by_scan("the zebra house"))


def test_phrases_are_found_as_they_stand_and_case_does_not_matter(tmp_path: Path) -> None:
    rows = ["The quick brown fox", "brown quick", "QUICK, Brown!", "quick", "東京タワー", "京東", "state of the art"]
    searched = Searched(tmp_path, train=[_texts(*rows)]).build()
    for search in (searched.by_index, searched.by_scan):
        assert sorted(search('"quick brown"').rows) == [0, 2]
        assert sorted(search("東京").rows) == [4]
        assert sorted(search("State-of-the-art").rows) == [6]
        assert sorted(search("quick").rows) == [0, 1, 2, 3]
        assert search("absent").total == 0


def test_each_split_has_rows_and_rarity_of_its_own(tmp_path: Path) -> None:
    searched = Searched(tmp_path, train=[_texts("a b"), _texts("c", "a")], test=[_texts("x", "a c")]).build()
    for search in (searched.by_index, searched.by_scan):
        assert sorted(search("a").rows) == [0, 2]
        assert search("a", "test").rows == (1,)
    _nearly_the_same_order(searched.by_index("a c", "test"), searched.by_scan("a c", "test"))


def test_columns_can_be_chosen_and_those_without_text_are_refused(tmp_path: Path) -> None:
    table = pa.table({
        "title": ["red", "blue", None], "id": [1, 2, 3],
        "chat": [[{"role": "user", "content": "blue sky"}], [], [{"role": "bot", "content": "red dawn"}]],
    })  # fmt: skip
    searched = Searched(tmp_path, train=[table]).build()
    for search in (searched.by_index, searched.by_scan):
        assert sorted(search("red").rows) == [0, 2]
        assert search("red", "train", None, (0, 9), "chat").rows == (2,)
        assert search("red", "train", None, (0, 9), "title").rows == (0,)
        assert search('"user blue"').total == 0
        with pytest.raises(ColumnNotFound, match="'nope'"):
            search("red", "train", None, (0, 9), "nope")
        with pytest.raises(InvalidSearch, match="'id' is int64"):
            search("red", "train", None, (0, 9), "id")


def test_a_dataset_without_text_finds_nothing(tmp_path: Path) -> None:
    searched = Searched(tmp_path, train=[pa.table({"n": [1, 2]})]).build()
    assert searched.by_index("one").total == searched.by_scan("one").total == 0


@pytest.mark.parametrize("at_once", [5, 1 << 18])
def test_a_mask_leaves_exact_totals_and_pages_fit_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(word_index, "_ROWS_AT_ONCE", at_once)
    rng = random.Random(1)
    rows = [" ".join(rng.choices("abcdefg", k=rng.randint(0, 6))) for _ in range(200)]
    searched = Searched(tmp_path, train=[_texts(*rows)]).build()
    keep = np.array([rng.random() < 0.3 for _ in rows])
    wanted = {row for row, text in enumerate(rows) if keep[row] and {"a", "b"} & set(text.split())}
    for search in (searched.by_index, searched.by_scan):
        assert set(search("a b", keep=keep).rows) == wanted
        for mask, total in ((keep, len(wanted)), (None, search("a b").total)):
            pages = [search("a b", keep=mask, page=(at, 7)) for at in range(0, 200, 7)]
            assert {page.total for page in pages} == {total}
            together = [row for page in pages for row in page.rows]
            assert len(together) == len(set(together)) == total


_WORDS = st.sampled_from(["a", "b", "The", "ſ", "İ", "é", "e\u0301", "中", "文", "한", "ー", "😀", "x1", "2", "_", "ß"])
_JOINTS = st.sampled_from([" ", "", "-", ". ", "\n", "\x1f", "\u200b", "'"])
_TEXT = st.one_of(
    st.lists(st.tuples(_WORDS, _JOINTS), max_size=8).map(lambda parts: "".join(map("".join, parts))),
    st.text(max_size=12),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(st.one_of(st.none(), _TEXT), min_size=1, max_size=20), search=_TEXT, data=st.data())
def test_reading_every_row_finds_exactly_what_the_index_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str | None], search: str, data: st.DataObject
) -> None:
    part = data.draw(st.sampled_from([row for row in rows if row] or ["a"]))
    words = data.draw(st.sampled_from([search, f'"{search}"', part, f'"{part}" {search}']))
    try:
        phrases_of(words)
    except InvalidSearch:
        return
    searched = Searched(tmp_path_factory.mktemp("random"), train=[_texts(*rows)]).build()
    _nearly_the_same_order(searched.by_index(words), searched.by_scan(words))


def test_a_word_is_found_in_every_row_that_has_it(tmp_path: Path, english: list[str]) -> None:
    rows = english[:2000]
    searched = Searched(tmp_path, train=[_texts(*rows[:900]), _texts(*rows[900:])]).build()
    for word in ("the", "generator", "python", "0"):
        wanted = {
            row for row, text in enumerate(rows) if word in "".join(c if c.isalnum() or c == "_" else " " for c in
            text.lower()).split()
        }  # fmt: skip
        assert set(searched.by_index(word, page=(0, 3000)).rows) == wanted, word
        assert set(searched.by_scan(word, page=(0, 3000)).rows) == wanted, word
    _nearly_the_same_order(
        searched.by_index('python "the generator" class', page=(0, 3000)),
        searched.by_scan('python "the generator" class', page=(0, 3000)),
    )


def test_a_scan_that_finds_a_lot_holds_the_best_only(
    tmp_path: Path, english: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = Searched(tmp_path, train=[_texts(*english[:3000])])
    whole = searched.by_scan("the python", page=(0, 20))
    monkeypatch.setattr(word_scan, "_MOST_HELD", 400)
    monkeypatch.setattr(word_scan, "_BATCH_BYTES", 20_000)
    bounded = searched.by_scan("the python", page=(0, 20))
    assert bounded.total == whole.total
    assert len(set(bounded.rows) & set(whole.rows)) >= 18


def test_the_same_rows_make_the_same_order(tmp_path: Path) -> None:
    rows = [f"same words {number % 3}" for number in range(500)]
    pages = [
        Searched(tmp_path / str(time), train=[_texts(*rows)]).build().by_index("same 1", page=(0, 500)).rows
        for time in range(2)
    ]
    assert pages[0] == pages[1]


def test_the_build_tells_rows_and_stops_when_it_should(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []

    def report(done: int, total: int, unit: str, stage: str, metrics: object = None) -> None:
        told.append((done, total, unit))

    Searched(tmp_path / "whole", train=[_texts(*"abc")], test=[_texts(*"de")]).build(Monitor(report, lambda: None))
    assert told[-1] == (5, 5, "rows")
    assert [done for done, *_ in told] == sorted(done for done, *_ in told)

    def stop() -> None:
        raise JobCancelled("stop", next_step="")

    with pytest.raises(JobCancelled):
        Searched(tmp_path / "stopped", train=[_texts(*"abc")]).build(Monitor(report, stop))
    with pytest.raises(JobCancelled):
        searched = Searched(tmp_path / "scan", train=[_texts(*"abc")])
        scan_for_words(searched.folder, searched.layout.splits[0], (("a",),), ["text"], None, 0, 1, stop)


def test_indexes_stay_open_until_their_folder_is_gone_and_only_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = OpenIndexes()
    many = [Searched(tmp_path / str(number), train=[_texts("a")]).build() for number in range(3)]
    first = opened.get(many[0].index, "train")
    assert opened.get(many[0].index, "train") is first
    many[0].index.rename(tmp_path / "gone")
    opened.get(many[1].index, "train")
    assert len(opened) == 1
    with pytest.raises(FileNotFoundError):
        opened.get(many[0].index, "train")
    monkeypatch.setattr(word_index, "_OPEN_INDEXES", 1)
    opened.get(many[2].index, "train")
    assert len(opened) == 1

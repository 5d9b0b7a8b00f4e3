from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.browsing.samples import CutCell, SamplePage, read_rows
from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.domain.datasets import DataFormat, Layout
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_servicekit.errors import MalformedFile, SplitNotFound

from .conftest import write_source

BUDGET = 1 << 20


def dataset(folder: Path, tables: list[pa.Table], row_group_size: int = 100) -> Layout:
    names = tuple(f"train-{number}.parquet" for number in range(len(tables)))
    for name, table in zip(names, tables, strict=True):
        write_source(folder, name, table, row_group_size)
    plan = SourcePlan("default", DataFormat.PARQUET, {"train": names}, (), CsvOptions())
    return read_source(folder, plan, UNWATCHED)


def numbers(page: SamplePage) -> list[int]:
    assert [row.row for row in page.rows] == [row.values["n"] for row in page.rows]
    return [row.row for row in page.rows]


@pytest.fixture
def thousand(tmp_path: Path) -> Layout:
    """1,000 numbered rows in three files of unequal size."""
    parts = [range(450), range(450, 451), range(451, 1000)]
    return dataset(tmp_path, [pa.table({"n": list(part)}) for part in parts])


@pytest.mark.parametrize("offset", [0, 99, 100, 101, 440, 449, 450, 451, 700, 990, 999])
def test_any_row_can_be_paged_to(tmp_path: Path, thousand: Layout, offset: int) -> None:
    page = read_rows(QueryEngine(tmp_path), tmp_path, thousand, "train", offset, 20, BUDGET)
    assert numbers(page) == list(range(offset, min(offset + 20, 1000)))
    assert page.total_rows == 1000


def test_a_page_may_span_row_groups_and_files(tmp_path: Path, thousand: Layout) -> None:
    assert numbers(read_rows(QueryEngine(tmp_path), tmp_path, thousand, "", 50, 900, BUDGET)) == list(range(50, 950))


def test_a_page_beyond_the_end_is_empty(tmp_path: Path, thousand: Layout) -> None:
    assert read_rows(QueryEngine(tmp_path), tmp_path, thousand, "train", 1000, 20, BUDGET) == SamplePage((), 1000)


def test_one_giant_row_group_can_be_paged_as_well(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [pa.table({"n": list(range(10_000))})], row_group_size=10_000)
    assert numbers(read_rows(QueryEngine(tmp_path), tmp_path, layout, "train", 9_990, 20, BUDGET)) == list(
        range(9_990, 10_000)
    )


def test_a_page_stays_within_its_byte_budget_and_never_stops(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [pa.table({"text": ["x" * 1000] * 50})])
    offset, seen = 0, 0
    while page := read_rows(QueryEngine(tmp_path), tmp_path, layout, "train", offset, 50, 10_000).rows:
        assert sum(len(row.values["text"]) for row in page) <= 10_000
        seen += len(page)
        offset = page[-1].row + 1
    assert seen == 50


def test_a_row_bigger_than_the_budget_is_shown_cut(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [pa.table({"text": ["x" * 3_000_000], "n": [0]})])
    row = read_rows(QueryEngine(tmp_path), tmp_path, layout, "train", 0, 1, 4096).rows[0]
    assert row.cut_cells == (CutCell("text", 3_000_000),)
    assert row.values == {"text": "x" * 2048, "n": 0}


def test_nested_and_binary_cells_are_described_not_fatal(tmp_path: Path) -> None:
    values: dict[str, list[Any]] = {
        "list": [[1, None]],
        "record": [{"a": {"b": "x"}}],
        "bytes": [b"\xff\xd8\xff\xe0"],
        "audio": [{"bytes": b"RIFF____WAVE", "path": "a.wav"}],
        "none": [None],
    }
    layout = dataset(tmp_path, [pa.table(values)])
    assert read_rows(QueryEngine(tmp_path), tmp_path, layout, "train", 0, 1, BUDGET).rows[0].values == {
        "list": [1, None],
        "record": {"a": {"b": "x"}},
        "bytes": {"kind": "image", "format": "jpeg", "size_bytes": 4},
        "audio": {"kind": "audio", "format": "wav", "size_bytes": 12, "path": "a.wav"},
        "none": None,
    }


def test_thousands_of_columns_are_paged(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [pa.table({f"c{n}": ["value"] for n in range(3000)})])
    row = read_rows(QueryEngine(tmp_path), tmp_path, layout, "train", 0, 1, BUDGET).rows[0]
    assert len(row.values) == 3000
    assert not row.cut_cells


def test_an_unknown_split_is_refused(tmp_path: Path, thousand: Layout) -> None:
    with pytest.raises(SplitNotFound, match="'test'"):
        read_rows(QueryEngine(tmp_path), tmp_path, thousand, "test", 0, 1, BUDGET)


def test_broken_pages_are_a_malformed_file(tmp_path: Path) -> None:
    layout = dataset(tmp_path, [pa.table({"text": ["some text"] * 1000})], row_group_size=1000)
    file = tmp_path / "source/train-0.parquet"
    content = bytearray(file.read_bytes())
    content[4:60] = bytes(56)
    file.write_bytes(content)
    with pytest.raises(MalformedFile, match=r"train-0\.parquet is broken"):
        read_rows(QueryEngine(tmp_path), tmp_path, layout, "train", 0, 1, BUDGET)

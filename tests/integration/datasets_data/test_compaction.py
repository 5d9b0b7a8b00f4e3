"""Thousands of tiny Parquet files become a few, with the same rows in the same order."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.browsing.samples import read_rows
from mistudio_datasets.data.incoming.compaction import MANY_FILES
from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.reading import bytes_to_read, read_source
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.domain.datasets import ColumnKind, DataFormat, Layout
from mistudio_datasets.domain.progress import UNWATCHED, Monitor
from mistudio_servicekit.errors import JobCancelled, MalformedFile
from mistudio_servicekit.storage import folder_bytes

from .conftest import write_source

MANY = MANY_FILES + 100

Tables = Callable[[int], pa.Table]


def numbered(number: int) -> pa.Table:
    """Three rows: numbered over all files, with a null now and then."""
    rows = range(3 * number, 3 * number + 3)
    return pa.table({"n": list(rows), "text": [f"row {row}" if row % 5 else None for row in rows]})


def many(folder: Path, table: Tables, files: int = MANY, split: str = "train") -> tuple[str, ...]:
    names = tuple(f"{split}-{number:05d}.parquet" for number in range(files))
    for number, name in enumerate(names):
        write_source(folder, name, table(number))
    return names


def plan_of(**splits: Sequence[str]) -> SourcePlan:
    named = {split: tuple(names) for split, names in splits.items()}
    return SourcePlan("default", DataFormat.PARQUET, named, (), CsvOptions())


def rows_of(folder: Path, layout: Layout, split: str = "train") -> list[dict[str, Any]]:
    files = [pq.read_table(folder / file) for file in layout.split(split).files]
    return [row for table in files for row in table.to_pylist()]


def test_thousands_of_tiny_files_become_one_with_the_same_rows(tmp_path: Path) -> None:
    names = many(tmp_path, numbered)
    before = folder_bytes(tmp_path)
    layout = read_source(tmp_path, plan_of(train=names), UNWATCHED)
    split = layout.split("train")
    assert (split.files, split.file_rows) == (("rows/train/part-00000.parquet",), (3 * MANY,))
    assert rows_of(tmp_path, layout) == [row for number in range(MANY) for row in numbered(number).to_pylist()]
    assert not list((tmp_path / "source").iterdir())
    assert folder_bytes(tmp_path) <= 1.1 * before
    assert split.bytes == folder_bytes(tmp_path)


def test_any_page_of_what_was_compacted_is_right(tmp_path: Path) -> None:
    layout = read_source(tmp_path, plan_of(train=many(tmp_path, numbered)), UNWATCHED)
    for offset in (0, 1999, 2000, 3 * MANY - 5):
        page = read_rows(QueryEngine(tmp_path), tmp_path, layout, "train", offset, 20, 1 << 20)
        assert [row.values["n"] for row in page.rows] == list(range(offset, min(offset + 20, 3 * MANY)))


def test_values_of_every_type_and_the_marks_of_images_stay(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "tags": datasets.List(datasets.Value("string")),
            "box": {"x": datasets.Value("float32"), "at": datasets.Value("timestamp[us]")},
            "kind": datasets.Value("string"),
        }
    )

    def table(number: int) -> pa.Table:
        row = {
            "picture": {"bytes": b"\x89PNG" + bytes([number % 256]), "path": None},
            "tags": ["a", None][: number % 3],
            "box": {"x": number / 3, "at": 1_700_000_000_000_000 + number},
            "kind": f"kind {number % 4}",
        }
        plain = pa.Table.from_pylist([row], features.arrow_schema)
        return plain.set_column(3, "kind", plain["kind"].dictionary_encode()).replace_schema_metadata(
            features.arrow_schema.metadata
        )

    layout = read_source(tmp_path, plan_of(train=many(tmp_path, table)), UNWATCHED)
    assert rows_of(tmp_path, layout) == [row for number in range(MANY) for row in table(number).to_pylist()]
    assert layout.columns[0].kind is ColumnKind.IMAGE


def test_columns_in_another_order_or_without_values_are_no_hindrance(tmp_path: Path) -> None:
    def table(number: int) -> pa.Table:
        full = numbered(number)
        if number % 3 == 0:
            return full.set_column(1, "text", pa.nulls(3))
        return full.select(["text", "n"]) if number % 3 == 1 else full

    layout = read_source(tmp_path, plan_of(train=many(tmp_path, table)), UNWATCHED)
    assert len(layout.split("train").files) == 1
    expected = [row for number in range(MANY) for row in table(number).select(["n", "text"]).to_pylist()]
    assert rows_of(tmp_path, layout) == expected


def test_files_whose_values_would_change_stay_as_they_are(tmp_path: Path) -> None:
    def table(number: int) -> pa.Table:
        return pa.table({"n": pa.array([number], pa.int64() if number % 2 else pa.float64())})

    names = many(tmp_path, table)
    layout = read_source(tmp_path, plan_of(train=names), UNWATCHED)
    assert layout.split("train").files == tuple(f"source/{name}" for name in names)


@pytest.mark.parametrize("kind", ["few", "large on average"])
def test_few_or_large_files_stay_where_they_lie(tmp_path: Path, kind: str) -> None:
    names = many(tmp_path, numbered, MANY_FILES if kind == "few" else MANY)
    if kind != "few":
        with (tmp_path / "source" / names[0]).open("r+b") as file:  # a hole before the footer: no rows lie there
            footer = file.read()[-1000:]
            file.truncate(MANY * (1 << 20))
            file.seek(0, 2)
            file.write(footer)
    layout = read_source(tmp_path, plan_of(train=names), UNWATCHED)
    assert layout.split("train").files == tuple(f"source/{name}" for name in names)
    assert not (tmp_path / "rows").exists()


def test_each_split_is_judged_by_itself_and_shared_files_stay(tmp_path: Path) -> None:
    names = many(tmp_path, numbered)
    layout = read_source(tmp_path, plan_of(train=names, test=names[:2]), UNWATCHED)
    assert len(layout.split("train").files) == 1
    assert layout.split("test").files == tuple(f"source/{name}" for name in names[:2])
    assert rows_of(tmp_path, layout, "test") == rows_of(tmp_path, layout)[:6]
    assert sorted(path.name for path in (tmp_path / "source").iterdir()) == list(names[:2])


def test_a_source_that_is_broken_is_named_and_nothing_is_removed(tmp_path: Path) -> None:
    names = many(tmp_path, numbered)
    broken = tmp_path / "source" / names[700]
    content = bytearray(broken.read_bytes())
    content[4:40] = b"\xff" * 36
    broken.write_bytes(content)
    with pytest.raises(MalformedFile, match=names[700]):
        read_source(tmp_path, plan_of(train=names), UNWATCHED)
    assert len(list((tmp_path / "source").iterdir())) == MANY


def test_a_stop_while_compacting_is_obeyed_and_nothing_is_removed(tmp_path: Path) -> None:
    calls = iter(range(MANY + 500))

    def check() -> None:
        if next(calls, None) is None:
            raise JobCancelled("The job was cancelled", next_step="Start it again")

    names = many(tmp_path, numbered)
    with pytest.raises(JobCancelled):
        read_source(tmp_path, plan_of(train=names), Monitor(lambda *_: None, check))
    assert len(list((tmp_path / "source").iterdir())) == MANY
    layout = read_source(tmp_path, plan_of(train=names), UNWATCHED)
    assert layout.rows == 3 * MANY


def test_progress_counts_what_is_read_to_the_exact_total(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []

    def report(done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
        seen.append((done, total, stage))

    plan = plan_of(train=many(tmp_path, numbered))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "source").iterdir()}
    read_source(tmp_path, plan, Monitor(report, lambda: None))
    assert list(dict.fromkeys(stage for *_, stage in seen)) == ["reading", "compacting"]
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    assert seen[-1][:2] == (bytes_to_read(plan, sizes), bytes_to_read(plan, sizes)) == (2 * sum(sizes.values()),) * 2

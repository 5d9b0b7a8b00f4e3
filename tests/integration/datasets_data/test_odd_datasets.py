"""Datasets that are odd: empty splits, one giant row, ten thousand columns, names of every kind."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.browsing.samples import SamplePage, read_rows
from mistudio_datasets.data.incoming.reading import SOURCE_FOLDER, ingest_upload, read_source
from mistudio_datasets.data.incoming.source_plan import plan_folder
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.data.tokens.engines import OwnEngine
from mistudio_datasets.data.tokens.shards import IDS_COLUMN
from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, TokenizeResult, tokenize
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_servicekit.errors import DatasetEmpty

BUDGET = 2 << 20
NAMES = (
    "with space", "quo\"te and 'tick'", "back\\slash", "new\nline", "a.b.c", "日本語", "emoji 👩\u200d👩\u200d👧",
    "e\u0301", "é", "%20&?#", "-- ; DROP TABLE", "{curly}", "[0]", "*", "", " ", "\u202eright", "CON", "x" * 300,
)  # fmt: skip


def write(folder: Path, name: str, content: bytes | pa.Table) -> Path:
    path = folder / SOURCE_FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    return path


def taken_in(folder: Path) -> Layout:
    return read_source(folder, plan_folder(folder / SOURCE_FOLDER), UNWATCHED)


def page(folder: Path, layout: Layout, split: str = "", limit: int = 20) -> SamplePage:
    return read_rows(QueryEngine(folder), folder, layout, split, 0, limit, BUDGET)


def tokenized(folder: Path, layout: Layout, split: str, column: str, model: Path) -> TokenizeResult:
    settings = TokenizationSettings(split, column)
    what = TokenizeInput(folder, layout, "", settings, load_tokenizer(model), threads=2)
    return tokenize(what, folder / "out", UNWATCHED)


def stored(folder: Path) -> list[list[int]]:
    ids: list[list[int]] = datasets.load_from_disk(str(folder / "out"))[IDS_COLUMN][:]
    return ids


@pytest.fixture
def model(model_folders: dict[str, Path]) -> Path:
    return model_folders["byte-level"]


def test_an_empty_split_is_listed_refused_for_tokenizing_and_no_hindrance_to_its_siblings(
    tmp_path: Path, model: Path
) -> None:
    write(tmp_path, "train.parquet", pa.table({"text": ["a", "b"]}))
    write(tmp_path, "test.parquet", pa.table({"text": pa.array([], pa.string())}))
    layout = taken_in(tmp_path)
    assert {split.name: split.rows for split in layout.splits} == {"train": 2, "test": 0}
    assert page(tmp_path, layout, "test") == SamplePage((), 0)
    with pytest.raises(DatasetEmpty, match="The split 'test' has no rows"):
        tokenized(tmp_path, layout, "test", "text", model)
    assert tokenized(tmp_path, layout, "train", "text", model).statistics.documents == 2


def test_an_empty_split_of_json_lines_is_listed_as_well(tmp_path: Path) -> None:
    write(tmp_path, "train.jsonl", b'{"text": "a"}\n')
    write(tmp_path, "test.jsonl", b"\n")
    layout = taken_in(tmp_path)
    assert {split.name: split.rows for split in layout.splits} == {"train": 1, "test": 0}
    assert page(tmp_path, layout, "test") == SamplePage((), 0)


@pytest.fixture(scope="module")
def long_text() -> str:
    """2 MB, with characters that take several bytes."""
    paragraph = "One document may be as long as a library. Ein Buch, so lang wie eine Bücherei. 一份很长的文件。\n\n"
    return paragraph * (2_000_000 // len(paragraph.encode()))


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_one_giant_row_is_taken_in_shown_cut_and_tokenized_whole(
    tmp_path: Path, model: Path, long_text: str, form: str
) -> None:
    if form == "jsonl":
        write(tmp_path, "train.jsonl", json.dumps({"text": long_text}).encode() + b"\n" + b'{"text": "short"}\n')
    else:
        write(tmp_path, "train.parquet", pa.table({"text": [long_text, "short"]}))
    tracemalloc.start()
    layout = taken_in(tmp_path)
    shown = page(tmp_path, layout).rows
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * len(long_text.encode())
    assert [row.values["text"] == text for row, text in zip(shown, (long_text, "short"), strict=True)] == [False, True]
    assert long_text.startswith(shown[0].values["text"])
    assert shown[0].cut_cells[0].size_bytes == len(long_text.encode())
    result = tokenized(tmp_path, layout, "train", "text", model)
    assert (result.statistics.documents, result.engine) == (2, "gigatoken")
    expected = OwnEngine(load_tokenizer(model)).encode(pa.array([long_text, "short"]))
    assert [id_ for document in stored(tmp_path) for id_ in document] == expected.ids.tolist()


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_ten_thousand_columns_are_taken_in_and_paged_within_the_budget(tmp_path: Path, form: str) -> None:
    rows = [{f"column {number}": f"value {number} of {row}" for number in range(10_000)} for row in range(20)]
    if form == "jsonl":
        write(tmp_path, "train.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    else:
        write(tmp_path, "train.parquet", pa.Table.from_pylist(rows))
    layout = taken_in(tmp_path)
    assert [column.name for column in layout.columns] == list(rows[0])
    shown = page(tmp_path, layout).rows
    assert [row.values for row in shown] == rows[: len(shown)]
    assert 1 <= len(shown) < 20
    assert sum(len(json.dumps(row.values)) for row in shown) < 2 * BUDGET


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
def test_columns_of_any_name_are_taken_in_shown_and_tokenized(tmp_path: Path, model: Path, form: str) -> None:
    names = [name for name in NAMES if name.strip() or form != "csv"]  # blank headings get names
    row: dict[str, Any] = {name: f"text of {number}" for number, name in enumerate(names)}
    if form == "parquet":
        write(tmp_path, "train.parquet", pa.Table.from_pylist([row]))
    elif form == "jsonl":
        write(tmp_path, "train.jsonl", json.dumps(row).encode() + b"\n")
    else:
        quoted = [['"' + cell.replace('"', '""') + '"' for cell in cells] for cells in (row, row.values())]
        write(tmp_path, "train.csv", "\n".join(",".join(cells) for cells in quoted).encode() + b"\n")
    layout = taken_in(tmp_path)
    assert [column.name for column in layout.columns] == names
    assert page(tmp_path, layout).rows[0].values == row
    for name in names:
        assert tokenized(tmp_path, layout, "train", name, model).statistics.tokens > 0


@pytest.mark.parametrize(
    "name",
    [
        "my data/part 1 of 2.jsonl",
        "日本語/資料.jsonl",
        "👩‍👩‍👧 & co/x.y.z.jsonl",
        "100%/a#b?.jsonl",
        "'.jsonl",
    ],
)
def test_files_of_any_name_are_taken_in(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, b'{"text": "a"}\n')
    layout = taken_in(tmp_path)
    assert [row.values for row in page(tmp_path, layout).rows] == [{"text": "a"}]


def test_splits_may_have_names_of_any_script(tmp_path: Path, model: Path) -> None:
    card = "---\nconfigs:\n- config_name: é mit Leerzeichen\n  data_files:\n  - split: 訓練\n    path: a.parquet\n---\n"
    write(tmp_path, "README.md", card.encode())
    write(tmp_path, "a.parquet", pa.table({"text": ["a"]}))
    layout = taken_in(tmp_path)
    assert [split.name for split in layout.splits] == ["訓練"]
    assert tokenized(tmp_path, layout, "訓練", "text", model).statistics.documents == 1


@pytest.mark.parametrize(
    "name", ["my file.jsonl", "../../etc/passwd.jsonl", "資料 👩‍👩‍👧.jsonl", "new\nline.jsonl", "a\0b.jsonl"]
)
def test_uploads_of_any_name_are_taken_in(tmp_path: Path, name: str) -> None:
    received, folder = tmp_path / "received", tmp_path / "epoch"
    folder.mkdir()
    received.write_bytes(b'{"text": "a"}\n{broken\n')
    layout = ingest_upload(folder, Source.whole(received, name), None, UNWATCHED)
    assert (layout.rows, layout.damaged[0].file) == (1, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch", "received"]


@pytest.mark.parametrize("rows", [200_000])
def test_tiny_rows_are_tokenized_one_document_each(tmp_path: Path, model: Path, rows: int) -> None:
    write(tmp_path, "train.parquet", pa.table({"text": [f"w{row % 1000}" for row in range(rows)]}))
    result = tokenized(tmp_path, taken_in(tmp_path), "train", "text", model)
    assert (result.statistics.documents, result.statistics.empty_documents) == (rows, 0)


def test_a_dictionary_that_unpacks_to_a_lot_is_tokenized_row_by_row(tmp_path: Path, model: Path) -> None:
    text = "The same long text again and again. " * 500
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None] * 3000, pa.int32()), [text, "other"])
    write(tmp_path, "train.parquet", pa.table({"text": column}))
    result = tokenized(tmp_path, taken_in(tmp_path), "train", "text", model)
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    assert result.null_documents == 3000
    assert result.statistics.tokens == 3000 * sum(len(tokenizer.encode(each).ids) for each in (text, "other"))

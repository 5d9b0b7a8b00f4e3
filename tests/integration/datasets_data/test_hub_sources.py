import gzip
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.browsing.samples import read_rows
from mistudio_datasets.data.incoming.reading import SOURCE_FOLDER, read_source
from mistudio_datasets.data.incoming.source_plan import plan_folder
from mistudio_datasets.domain.datasets import ColumnKind, DataFormat, Layout
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_servicekit.errors import DatasetEmpty, MalformedFile


def read(folder: Path, files: dict[str, bytes]) -> Layout:
    for name, content in files.items():
        (folder / SOURCE_FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / SOURCE_FOLDER / name).write_bytes(content)
    return read_source(folder, plan_folder(folder / SOURCE_FOLDER), UNWATCHED)


def parquet(rows: dict[str, list[object]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(rows), sink)
    return sink.getvalue().to_pybytes()


def loaded(folder: Path, split: str, cache: Path) -> list[dict[str, object]]:
    """What the library itself makes of the same folder."""
    return list(datasets.load_dataset(str(folder / SOURCE_FOLDER), split=split, cache_dir=str(cache)))


def rows_of(folder: Path, layout: Layout, split: str) -> list[dict[str, object]]:
    return [row.values for row in read_rows(QueryEngine(folder), folder, layout, split, 0, 1000, 1 << 20).rows]


def test_parquet_is_read_where_it_lies(tmp_path: Path) -> None:
    layout = read(
        tmp_path, {"train-0.parquet": parquet({"text": ["a"]}), "train-1.parquet": parquet({"text": ["b", "c"]})}
    )
    assert layout.split("train").files == ("source/train-0.parquet", "source/train-1.parquet")
    assert layout.split("train").file_rows == (1, 2)
    assert not (tmp_path / "rows").exists()
    assert rows_of(tmp_path, layout, "train") == [{"text": "a"}, {"text": "b"}, {"text": "c"}]


FORMATS = {
    "json-lines": ("train.jsonl", b'{"text": "a", "n": 1}\n{"text": "b", "n": 2}\n'),
    "gzip": ("train.jsonl.gz", gzip.compress(b'{"text": "a", "n": 1}\n{"text": "b", "n": 2}\n')),
    "json-array": ("train.json", json.dumps([{"text": "a", "n": 1}, {"text": "b", "n": 2}], indent=1).encode()),
    "csv": ("train.csv", b'text,n\na,1\n"b, c",2\n'),
    "text": ("train.txt", b"one\n\ntwo\r\nthree"),
}


@pytest.mark.parametrize("form", FORMATS)
def test_other_formats_become_parquet_with_the_rows_the_library_reads(tmp_path: Path, form: str) -> None:
    name, content = FORMATS[form]
    layout = read(tmp_path, {name: content})
    assert layout.split("train").files == ("rows/train/part-00000.parquet",)
    assert rows_of(tmp_path, layout, "train") == loaded(tmp_path, "train", tmp_path / "cache")


@pytest.mark.parametrize("is_stream", [True, False])
def test_arrow_files_of_both_forms_become_parquet(tmp_path: Path, is_stream: bool) -> None:
    table = pa.table({"text": ["a", "b"], "n": [1, 2]})
    sink = pa.BufferOutputStream()
    with (pa.ipc.new_stream if is_stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table)
    layout = read(tmp_path, {"train.arrow": sink.getvalue().to_pybytes()})
    assert layout.format is DataFormat.ARROW
    assert rows_of(tmp_path, layout, "train") == table.to_pylist()


def test_splits_share_one_schema_found_over_all_of_them(tmp_path: Path) -> None:
    layout = read(tmp_path, {"train.jsonl": b'{"a": 1}\n', "test.jsonl": b'{"a": 0.5, "b": "x"}\n'})
    assert [(column.name, column.type) for column in layout.columns] == [("a", "double"), ("b", "string")]
    assert rows_of(tmp_path, layout, "train") == [{"a": 1.0, "b": None}]


def test_image_columns_are_known_by_the_features_in_the_file(tmp_path: Path) -> None:
    features = datasets.Features({"picture": datasets.Image(), "label": datasets.Value("int64")})
    png = b"\x89PNG\r\n\x1a\n" + bytes(20)
    table = pa.Table.from_pylist([{"picture": {"bytes": png, "path": "a.png"}, "label": 1}], features.arrow_schema)
    (tmp_path / SOURCE_FOLDER).mkdir()
    pq.write_table(table, tmp_path / SOURCE_FOLDER / "train.parquet")
    layout = read(tmp_path, {})
    assert layout.columns[0].kind is ColumnKind.IMAGE
    assert rows_of(tmp_path, layout, "train")[0]["picture"] == {
        "kind": "image", "format": "png", "size_bytes": 28, "path": "a.png"
    }  # fmt: skip


def test_a_damaged_line_is_set_aside_in_hub_files_too(tmp_path: Path) -> None:
    layout = read(tmp_path, {"train.jsonl": b'{"a": 1}\n{oops\n{"a": 2}\n'})
    assert (layout.rows, layout.damaged_count, layout.damaged[0].line) == (2, 1, 2)


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedFile, match=r"train\.parquet"):
        read(tmp_path, {"train.parquet": b"<html>not found</html>"})


def test_parquet_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedFile, match=r"train-1\.parquet has other columns.*'body'"):
        read(tmp_path, {"train-0.parquet": parquet({"text": ["a"]}), "train-1.parquet": parquet({"body": ["b"]})})


def test_a_dataset_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetEmpty):
        read(tmp_path, {"train.parquet": parquet({"text": []})})

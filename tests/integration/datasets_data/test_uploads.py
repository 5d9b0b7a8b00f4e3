import bz2
import gzip
import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.browsing.samples import read_rows
from mistudio_datasets.data.incoming.records import DAMAGED_FILE
from mistudio_datasets.domain.datasets import DataFormat, Layout
from mistudio_datasets.domain.progress import Monitor
from mistudio_servicekit.errors import (
    DatasetEmpty,
    JobCancelled,
    MalformedFile,
    MistudioError,
    UnsupportedFormat,
)


def rows_of(folder: Path, layout: Layout) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(QueryEngine(folder), folder, layout, "train", 0, 1000, 1 << 22).rows]


def types_of(layout: Layout) -> dict[str, str]:
    return {column.name: column.type for column in layout.columns}


LINES = b'{"text": "caf\xc3\xa9", "n": 1}\n{"n": 2}\n'
ROWS = [{"text": "café", "n": 1}, {"text": None, "n": 2}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", LINES),
        ("rows.jsonl", b"\xef\xbb\xbf" + LINES),
        ("rows.jsonl.gz", gzip.compress(LINES)),
        ("rows.jsonl.zst", zstandard.compress(LINES)),
        ("rows.jsonl.bz2", bz2.compress(LINES)),
        ("rows.jsonl.xz", lzma.compress(LINES)),
        ("misnamed.jsonl", gzip.compress(LINES[:30]) + gzip.compress(LINES[30:])),
        ("no-ending", LINES),
        ("rows.json", b"[" + LINES.strip().replace(b"\n", b",\n") + b"]"),
        ("rows.json", b'{\n "text": "caf\xc3\xa9",\n "n": 1\n}\n{\n "n": 2\n}\n'),
    ],
)
def test_json_lines_are_taken_in_every_wrapping(upload: Any, name: str, content: bytes) -> None:
    folder, layout = upload(name, content)
    assert layout.format is DataFormat.JSONL
    assert rows_of(folder, layout) == ROWS


def test_types_are_found_by_looking_at_all_rows(upload: Any) -> None:
    lines = [{"a": 1, "b": 1, "c": [1]} for _ in range(5000)] + [{"a": 0.5, "b": "x", "d": True}]
    folder, layout = upload("rows.jsonl", "\n".join(map(json.dumps, lines)).encode())
    assert types_of(layout) == {"a": "double", "b": "string", "c": "list<item: int64>", "d": "bool"}
    assert layout.rows == 5001
    page = read_rows(QueryEngine(folder), folder, layout, "train", 5000, 1, 1 << 20)
    assert page.rows[0].values == {"a": 0.5, "b": "x", "c": None, "d": True}


DAMAGED = [
    (b"{oops", "not JSON"),
    (b"[1, 2]", "an array"),
    (b'"text"', "a string"),
    (b'{"text": "\xff\xfe"}', "not UTF-8"),
    (b'{"text": "\\ud800"}', "surrogate"),
    (b"[" * 5000, "not JSON|nested too deeply"),
]


@pytest.mark.parametrize(("line", "reason"), DAMAGED)
def test_a_damaged_line_is_set_aside_with_its_place_and_reason(upload: Any, line: bytes, reason: str) -> None:
    folder, layout = upload("rows.jsonl", LINES + line + b"\n" + LINES)
    assert (layout.rows, layout.damaged_count) == (4, 1)
    listed = json.loads((folder / DAMAGED_FILE).read_text().splitlines()[0])
    assert (listed["line"], listed["byte_offset"]) == (3, len(LINES))
    assert listed["byte_count"] == len(line) + 1
    assert any(part in listed["reason"] for part in reason.split("|"))
    assert (listed["text"] is None) == (b"\xff" in line)


def test_every_damaged_line_is_listed_and_none_is_lost(upload: Any) -> None:
    folder, layout = upload("rows.jsonl", b"".join(b'{"n": %d}\n' % n if n % 3 else b"{%d\n" % n for n in range(3000)))
    assert layout.rows + layout.damaged_count == 3000
    assert len((folder / DAMAGED_FILE).read_text().splitlines()) == 1000 == layout.damaged_count


def test_csv_dialect_types_and_quoted_line_ends_are_found(upload: Any) -> None:
    folder, layout = upload("t.csv", b'id;score;text;zip\r\n1;0.5;"a;\r\nb ""c""";007\r\n2;;plain;123\r\n')
    assert types_of(layout) == {"id": "int64", "score": "double", "text": "string", "zip": "string"}
    assert rows_of(folder, layout) == [
        {"id": 1, "score": 0.5, "text": 'a;\r\nb "c"', "zip": "007"},
        {"id": 2, "score": None, "text": "plain", "zip": "123"},
    ]


def test_ragged_csv_rows_are_set_aside(upload: Any) -> None:
    folder, layout = upload("t.csv", b"a,b\n1,2\n3\n4,5,6\n\n7,8\n")
    assert rows_of(folder, layout) == [{"a": 1, "b": 2}, {"a": 7, "b": 8}]
    assert [(line.line, line.reason) for line in layout.damaged] == [
        (3, "1 fields where the header has 2"), (4, "3 fields where the header has 2")
    ]  # fmt: skip


def test_a_quote_that_never_closes_is_set_aside_with_its_extent(upload: Any) -> None:
    _, layout = upload("t.csv", b'a,b\n1,2\n3,"oops\n5,6\n7,8\n')
    assert (layout.rows, layout.damaged_count) == (1, 1)
    assert (layout.damaged[0].line, layout.damaged[0].lines) == (3, 3)


def test_repeated_and_missing_csv_column_names_stay_apart(upload: Any) -> None:
    _, layout = upload("t.csv", b"a,,a\n1,2,3\n")
    assert list(types_of(layout)) == ["a", "column_2", "a.1"]


def test_text_is_one_row_a_line(upload: Any) -> None:
    folder, layout = upload("notes.txt", b"one\n\ntwo\r\nthree")
    assert [row["text"] for row in rows_of(folder, layout)] == ["one", "", "two", "three"]


def test_text_lines_that_are_not_utf8_are_set_aside(upload: Any) -> None:
    folder, layout = upload("notes.txt", b"one\ncaf\xe9\ntwo\n")
    assert [row["text"] for row in rows_of(folder, layout)] == ["one", "two"]
    assert layout.damaged[0].base64 == "Y2Fm6Qo="


def test_parquet_is_kept_as_it_is(upload: Any) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a", "b"]}), sink)
    content = sink.getvalue().to_pybytes()
    folder, layout = upload("../../rows", content)
    assert layout.split("train").files == ("source/upload.parquet",)
    assert (folder / "source/upload.parquet").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "content", "wanted", "error", "text"),
    [
        ("rows.parquet", b"text\nno parquet\n", None, MalformedFile, r"rows\.parquet is no Parquet file.*b'text"),
        ("rows.bin", b"hello\n", DataFormat.PARQUET, MalformedFile, "no Parquet file"),
        ("rows.parquet", b"PAR1" + b"x" * 50, None, MalformedFile, "no readable Parquet file"),
        ("rows.jsonl", b"", None, DatasetEmpty, "is empty"),
        ("rows.jsonl", b"\n\n \n", None, DatasetEmpty, "holds no rows"),
        ("rows.csv", b"a,b\n", None, DatasetEmpty, "holds no rows"),
        ("rows.jsonl", b"not json\nat all\n", None, MalformedFile, "None of the 2 records.*line 1"),
        ("rows.json", b'[{"a": 1}, {"a": ', None, MalformedFile, r"rows\.json is not JSON"),
        ("rows.json", b"[1, 2]", None, MalformedFile, "a number where a JSON object"),
        ("rows.jsonl.gz", gzip.compress(LINES * 100)[:-20], None, MalformedFile, "stream is broken"),
        ("rows.txt", "hallo".encode("utf-16"), None, MalformedFile, "UTF-16"),
        ("rows.zip", b"PK\x03\x04" + bytes(30), None, UnsupportedFormat, "ZIP"),
        ("tool.exe", b"MZ\0\0\0\0", None, UnsupportedFormat, "binary"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_cause(
    upload: Any, name: str, content: bytes, wanted: DataFormat | None, error: type[MistudioError], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        upload(name, content, wanted)
    assert caught.value.next_step


def test_progress_reaches_the_exact_total_of_both_stages(upload: Any) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}

    def report(done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
        seen.setdefault(f"{stage} {unit}", []).append((done, total))

    content = b'{"n": 1}\n' * 3000
    upload("rows.jsonl", content, None, Monitor(report, lambda: None))
    assert set(seen) == {"scanning bytes", "converting bytes"}
    steps = [*seen["scanning bytes"], *seen["converting bytes"]]
    assert steps == sorted(steps)
    assert seen["scanning bytes"][-1] == (len(content), 2 * len(content))
    assert steps[-1] == (2 * len(content), 2 * len(content))


def test_a_stop_in_the_middle_is_obeyed(upload: Any) -> None:
    calls = iter(range(3))

    def check() -> None:
        if next(calls, None) is None:
            raise JobCancelled("The job was cancelled", next_step="Start it again")

    with pytest.raises(JobCancelled):
        upload("rows.jsonl", b'{"n": 1}\n' * 10_000, None, Monitor(lambda *_: None, check))


def test_a_second_run_writes_the_same_bytes(tmp_path: Path, upload: Any) -> None:
    folder, layout = upload("rows.jsonl", LINES * 2000)
    first = (folder / layout.split().files[0]).read_bytes()
    folder.rename(tmp_path / "before")
    folder, layout = upload("rows.jsonl", LINES * 2000)
    assert (folder / layout.split().files[0]).read_bytes() == first

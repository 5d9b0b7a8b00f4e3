"""JSON Lines and compressed files that nobody wrote with care: every line becomes a row or is set aside."""

import bz2
import gzip
import lzma
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard

from mistudio_datasets.data.incoming.conversion import MAX_COLUMNS
from mistudio_datasets.data.incoming.csv_rows import CsvOptions, CsvRecords
from mistudio_datasets.data.incoming.json_rows import read_json
from mistudio_datasets.data.incoming.records import DamagedRecord, DamageLog
from mistudio_datasets.data.incoming.text_rows import read_text
from mistudio_servicekit.errors import MalformedFile

from .accounting import RecordReader, assert_accounted, content_of, jsonl, read_short, rows_of, set_aside, types_of

# JSON Lines


@pytest.mark.parametrize(
    ("rows", "type_", "values"),
    [
        ([1, 2.5, None], "double", [1.0, 2.5, None]),
        ([1, "a", 2.5, True], "string", ["1", "a", "2.5", "true"]),
        ([True, 1], "string", ["true", "1"]),
        ([2**60, 0.5], "string", [str(2**60), "0.5"]),
        ([2**70, 1], "string", [str(2**70), "1"]),
        ([{"a": 1}, {"b": "x"}], "struct<a: int64, b: string>", [{"a": 1, "b": None}, {"a": None, "b": "x"}]),
        ([{"a": 1}, {"a": "x"}], "struct<a: string>", [{"a": "1"}, {"a": "x"}]),
        ([{"a": 1}, [1]], "string", ['{"a": 1}', "[1]"]),
        ([[1], [], ["x"]], "list<item: string>", [["1"], [], ["x"]]),
        ([[1], None, 7], "string", ["[1]", None, "7"]),
        ([{}, {"a": {"b": [1, 0.5]}}], "struct<a: struct<b: list<item: double>>>", None),
    ],
)
def test_values_of_different_types_meet_without_loss(
    upload: Any, rows: list[object], type_: str, values: list[object] | None
) -> None:
    content = jsonl(*({"v": row} for row in rows))
    folder, layout = upload("rows.jsonl", content)
    assert types_of(layout) == {"v": type_}
    assert_accounted(folder, layout, content)
    if values is not None:
        assert [row["v"] for row in rows_of(folder, layout)] == values


def test_missing_and_late_keys_are_null(upload: Any) -> None:
    content = jsonl({"a": 1}, {}, {"b": 2}, {"": 3})
    folder, layout = upload("rows.jsonl", content)
    assert_accounted(folder, layout, content)
    assert rows_of(folder, layout)[1:] == [
        {"a": None, "b": None, "": None},
        {"a": None, "b": 2, "": None},
        {"a": None, "b": None, "": 3},
    ]


def test_of_a_key_that_repeats_the_last_value_counts(upload: Any) -> None:
    folder, layout = upload("rows.jsonl", b'{"a": 1, "a": 2}\n{"a": 3}\n')
    assert [row["a"] for row in rows_of(folder, layout)] == [2, 3]


def test_numbers_that_json_does_not_have_are_numbers_still(upload: Any) -> None:
    folder, layout = upload("rows.jsonl", b'{"a": NaN}\n{"a": Infinity}\n{"a": -Infinity}\n{"a": 1}\n')
    table = pq.read_table(folder / layout.split().files[0])
    found: list[Any] = table["a"].to_pylist()
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf, 1.0]


def test_marks_blank_lines_and_foreign_line_ends_are_no_rows(upload: Any) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}\r\n\t\n{"a": 3}'
    folder, layout = upload("rows.jsonl", content)
    assert [row["a"] for row in rows_of(folder, layout)] == [1, 2, 3]
    assert_accounted(folder, layout, content)


BAD_LINES = [
    (b'{"a": "\\ud800"}', "half of a surrogate pair"),
    (b'{"\\udfff": 1}', "half of a surrogate pair"),
    (b'{"a": "\xed\xa0\x80"}', "not UTF-8 at byte 7"),
    (b'{"a": "caf\xe9"}', "not UTF-8"),
    (b'{"a": 1} {"a": 2}', "not JSON: Extra data"),
    (b'{"a": 1', "not JSON"),
    (b"{'a': 1}", "not JSON"),
    (b'{"a": ' + b"9" * 5000 + b"}", "too many digits"),
    (b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}", "nested too deeply"),
    (b'{"a": ' + b"[" * 90_000 + b"]" * 90_000 + b"}", "nested too deeply"),
    (b'{"a\\u0000b": 1}', "NUL"),
    (b'{"a": {"b": [{"\\u0000": 1}]}}', "NUL"),
    (b'{"a": "x\0y"}', "not JSON"),
    (b"null", "null"),
    (b"NaN", "a number"),
    (b"true", "a boolean"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_line_is_kept_whole_beside_the_rows(upload: Any, line: bytes, reason: str) -> None:
    # Behind so many good ones that the file does not look binary.
    content = b'{"a": 1}\n' * 8000 + line + b'\n{"a": 2}\n'
    folder, layout = upload("rows.jsonl", content)
    assert (layout.rows, layout.damaged_count) == (8001, 1)
    assert_accounted(folder, layout, content)
    assert reason in layout.damaged[0].reason
    assert "\0" not in (layout.damaged[0].text or ""), "the database takes no NUL"


def test_a_string_may_hold_a_nul(upload: Any) -> None:
    folder, layout = upload("rows.jsonl", b'{"a": "x\\u0000y"}\n')
    assert rows_of(folder, layout) == [{"a": "x\0y"}]


def test_a_line_of_megabytes_is_set_aside_whole(upload: Any) -> None:
    line = b'{"a": "' + b"caf\xc3\xa9 " * 500_000 + b"\n"
    content = b'{"a": "1"}\n' + line + b'{"a": "2"}\n'
    folder, layout = upload("rows.jsonl", content)
    assert_accounted(folder, layout, content)
    assert len(layout.damaged[0].text) <= 4096


@pytest.mark.parametrize(
    ("read", "before", "long", "after"),
    [
        (read_json, b'{"a": 1}\n', b'{"a": "' + b"x" * 5000 + b'"}\n', b'{"a": 2}\n'),
        (lambda source: CsvRecords(source, CsvOptions()), b"a\n1\n", b"x" * 5000 + b"\n", b"2\n"),
        (read_text, b"1\n", b"x" * 5000 + b"\n", b"2\n"),
        (read_text, b"1\r", b"x" * 5000 + b"\r", b"2"),
    ],
)
def test_a_line_too_long_for_memory_is_set_aside(
    tmp_path: Path, read: RecordReader, before: bytes, long: bytes, after: bytes
) -> None:
    first, record, last = read_short(tmp_path, before + long + after, read)
    assert [str(*row.values()) for row in (first, last) if isinstance(row, dict)] == ["1", "2"]
    assert isinstance(record, DamagedRecord)
    assert record.listed.reason == "longer than 1,000 bytes"
    assert (record.listed.byte_offset, record.listed.byte_count) == (len(before), len(long))
    with DamageLog(tmp_path) as log:
        log.add(record)
    assert content_of(*set_aside(tmp_path)) == long[:1000]


def test_more_columns_than_anyone_has_are_refused(upload: Any) -> None:
    content = jsonl(*({f"key {number}": number} for number in range(MAX_COLUMNS + 1)))
    with pytest.raises(MalformedFile, match="more than 10,000 columns"):
        upload("rows.jsonl", content)


# Compressed files

LINES = b"".join(b'{"n": %d, "text": "row %d"}\n' % (number, number) for number in range(20_000))
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_members_one_after_the_other_are_one_file(upload: Any, ending: str) -> None:
    pack, cuts = COMPRESSORS[ending], [0, 11, 30_000, 30_000, len(LINES)]
    parts = [pack(LINES[start:end]) for start, end in pairwise(cuts)]
    _, layout = upload(f"rows.jsonl{ending}", b"".join(parts))
    assert (layout.rows, layout.damaged_count) == (20_000, 0)


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("kept", [0.5, 0.99, 1])
def test_a_cut_stream_is_refused(upload: Any, ending: str, kept: float) -> None:
    packed = COMPRESSORS[ending](LINES)
    with pytest.raises(MalformedFile, match="stream is broken"):
        upload(f"rows.jsonl{ending}", packed[: int(len(packed) * kept) - 1])


@pytest.mark.parametrize("ending", COMPRESSORS)
@pytest.mark.parametrize("garbage", [b"some bytes that are no stream", LINES[:100]])
def test_bytes_behind_the_last_stream_are_refused_and_not_dropped(upload: Any, ending: str, garbage: bytes) -> None:
    with pytest.raises(MalformedFile, match="stream is broken"):
        upload(f"rows.jsonl{ending}", COMPRESSORS[ending](LINES) + garbage)


def test_padding_behind_a_stream_is_none(upload: Any) -> None:
    _, layout = upload("rows.jsonl.gz", gzip.compress(LINES) + bytes(10_000))
    assert layout.rows == 20_000


@pytest.mark.parametrize("ending", COMPRESSORS)
def test_a_damaged_stream_is_refused(upload: Any, ending: str) -> None:
    packed = bytearray(COMPRESSORS[ending](LINES))
    packed[len(packed) // 2] ^= 0xFF
    if ending == ".zst":  # has no checksum unless asked for one
        packed = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(LINES))
        packed[-1] ^= 0xFF
    with pytest.raises(MalformedFile, match="stream is broken"):
        upload(f"rows.jsonl{ending}", bytes(packed))


def test_damaged_lines_of_a_compressed_file_have_their_place_in_its_content(upload: Any) -> None:
    content = LINES + b"{oops\n" + LINES
    folder, layout = upload("rows.jsonl.zst", zstandard.compress(content))
    assert_accounted(folder, layout, content)
    assert layout.damaged[0].line == 20_001

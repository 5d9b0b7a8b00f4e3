"""JSON Lines that are read in blocks become the dataset that reading line by line makes of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mistudio_datasets.data.incoming.json_rows import read_json
from mistudio_datasets.data.incoming.line_blocks import SMALLEST_BLOCK
from mistudio_datasets.data.incoming.parquet_writer import ROW_GROUP_ROWS
from mistudio_datasets.data.incoming.records import Expected
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.data.incoming.streams import SourceFile
from mistudio_datasets.domain.datasets import DataFormat

from .accounting import jsonl
from .both_ways import outcome


def line_by_line(source: SourceFile, _: Expected) -> Iterator[Any]:
    return read_json(source)


CLEAN = [{"i": n, "f": n / 7, "t": f"row {n} " + "x" * (n % 90), "r": {"i": n, "l": ["a", None]}} for n in range(500)]
HOSTILE = [
    b"\n", b"  \n", b"{oops\n", b"null\n", b"[1]\n", b'{"i": 1} {"i": 2}\n', b'{"i": "x"}\n', b'{"i": 0.5}\n',
    b'{"i": 9007199254740993}\n', b'{"i": 99999999999999999999}\n', b'{"f": -0}\n', b'{"f": NaN}\n', b'{"f": Inf}\n',
    b'{"t": 7}\n', b'{"t": "\\ud800"}\n', b'{"t": "\xff"}\n', b'{"t": "\\u0000"}\n', b'{"t": "a\0b"}\n',
    b'{"r": {}}\n', b'{"r": null, "late": 1}\n', b'{"late": {"a": "2020-01-01"}}\n', b'{"r": {"l": [[]]}}\n',
    b'{"i": 1, "i": 2}\n', b'{"i": 1}\r\n', b'{"t": "' + b"y" * 300_000 + b'"}\n', b'{"r": {"deep": [[[[[1]]]]]}}\n',
    b'{"a\\u0000": 1}\n', b"\xef\xbb\xbf{}\n", b'{"t":\n"x"}\n', b"{}\n", b'{"e": {}}\n', b'{"e": {"f": 1}}\n',
]  # fmt: skip

odd = st.lists(st.tuples(st.integers(0, 4000), st.sampled_from(HOSTILE)), max_size=6)


@settings(max_examples=30)
@given(odd, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(), st.booleans())
def test_blocks_and_lines_make_the_same_dataset(
    odd: list[tuple[int, bytes]], end: bytes, is_marked: bool, is_ended: bool, is_packed: bool
) -> None:
    lines = [json.dumps(row).encode() + end for row in CLEAN] * 8
    for place, line in sorted(odd, reverse=True):
        lines.insert(place, line)
    content = b"\xef\xbb\xbf" * is_marked + b"".join(lines)
    content = content if is_ended else content.rstrip(b"\r\n")
    content = gzip.compress(content, 1) if is_packed else content
    ways = (outcome(content, read, DataFormat.JSONL) for read in (read_json, line_by_line))
    assert next(ways) == next(ways)


def tables_of(tmp_path: Path, content: bytes, schema: pa.Schema) -> tuple[int, int]:
    """How many rows came in tables, and how many alone."""
    path = tmp_path / "received"
    path.write_bytes(content)
    with SourceFile(Source.whole(path, "rows")) as source:
        records = list(read_json(source, lambda: schema))
    tables = [record for record in records if isinstance(record, pa.Table)]
    return sum(table.num_rows for table in tables), len(records) - len(tables)


SCHEMA = pa.table({"n": [0], "text": [""]}).schema


def test_clean_lines_are_read_in_blocks_to_the_last(tmp_path: Path) -> None:
    content = jsonl(*({"n": n, "text": "x" * 50} for n in range(10_000)))
    assert tables_of(tmp_path, content, SCHEMA) == (10_000, 0)


def test_around_a_damaged_line_only_a_small_part_is_read_line_by_line(tmp_path: Path) -> None:
    clean = jsonl(*({"n": n, "text": "x" * 50} for n in range(40_000)))
    in_tables, alone = tables_of(tmp_path, clean + b"{oops\n" + clean, SCHEMA)
    assert in_tables + alone == 80_001
    assert 70 * alone < 2 * SMALLEST_BLOCK


def test_lines_longer_than_a_small_block_are_read_in_large_ones(tmp_path: Path) -> None:
    content = jsonl(*({"n": n, "text": "x" * 3 * SMALLEST_BLOCK} for n in range(10)))
    assert tables_of(tmp_path, content, SCHEMA) == (10, 0)


@pytest.mark.parametrize("broken", [b"", b"{oops\n"])
def test_row_groups_stay_small(upload: Any, broken: bytes) -> None:
    lines = b"".join(b'{"n": %d}\n' % n + (broken if n % 20_000 == 19_999 else b"") for n in range(100_000))
    folder, layout = upload("rows.jsonl", lines)
    footer = pq.ParquetFile(folder / layout.split().files[0]).metadata
    sizes = [footer.row_group(index).num_rows for index in range(footer.num_row_groups)]
    assert sum(sizes) == 100_000
    assert set(sizes[:-1]) == {ROW_GROUP_ROWS}

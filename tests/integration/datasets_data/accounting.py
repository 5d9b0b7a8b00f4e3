"""What became of a file: its rows, what was set aside, and whether that is all of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_datasets.data.incoming.records import DAMAGED_FILE, DamagedRecord, Row
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.data.incoming.streams import SourceFile
from mistudio_datasets.domain.datasets import Layout

RecordReader = Callable[[SourceFile], Iterable[Row | DamagedRecord | pa.Table]]
"""Reads a file as one reads it that expects no columns: record by record."""


def rows_of(folder: Path, layout: Layout) -> list[dict[str, Any]]:
    files = layout.split("train").files
    return [row for file in files for row in pq.read_table(folder / file).to_pylist()]


def types_of(layout: Layout) -> dict[str, str]:
    return {column.name: column.type for column in layout.columns}


def set_aside(folder: Path) -> list[dict[str, Any]]:
    path = folder / DAMAGED_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def content_of(record: dict[str, Any]) -> bytes:
    if record["text"] is None:
        return base64.b64decode(record["base64"])
    text: str = record["text"]
    return text.encode()


def assert_accounted(folder: Path, layout: Layout, content: bytes, without: bytes = b"") -> None:
    """Every line is a row, or in the list of damaged ones with all of its bytes (or of those in `without`)."""
    records = set_aside(folder)
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True)
    counted = [line for line in lines if line.strip() and line != without]
    assert layout.rows + sum(record["lines"] for record in records) == len(counted)
    assert len(records) == layout.damaged_count
    for record in records:
        start = record["byte_offset"]
        assert content_of(record) == content[start : start + record["byte_count"]]


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read_short(tmp_path: Path, content: bytes, read: RecordReader) -> list[Row | DamagedRecord]:
    """The records of `content`, where no line may have more than 1,000 bytes."""
    path = tmp_path / "received"
    path.write_bytes(content)
    with SourceFile(Source.whole(path, "rows"), longest_line=1000) as source:
        return [record for record in read(source) if not isinstance(record, pa.Table)]

"""What a file becomes by a reader: to compare one that reads in blocks with one that reads records one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_datasets.data.incoming.conversion import Converted, convert
from mistudio_datasets.data.incoming.records import DAMAGED_FILE, Reader
from mistudio_datasets.data.incoming.sources import Piece, Source
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_servicekit.errors import MistudioError

Outcome = tuple[pa.Schema, str, str | None, Any] | str


def outcome(content: bytes, read: Reader, format: DataFormat) -> Outcome:
    """The rows with their types, the records set aside, and what is told of them; or the error."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "received").write_bytes(content)
        try:
            converted = convert(_sources(folder), read, format, folder, UNWATCHED)
        except MistudioError as error:
            return repr(error)
        damaged = folder / DAMAGED_FILE
        table = _rows(folder, converted)
        kept = damaged.read_text() if damaged.exists() else None
        return table.schema, repr(table.to_pydict()), kept, converted.damage.first


def _sources(folder: Path) -> dict[str, list[Source]]:
    """The file twice, the second time from two pieces: a later file meets the columns of an earlier one."""
    path = folder / "received"
    size = path.stat().st_size
    return {
        "train": [Source.whole(path, "a")],
        "test": [Source((Piece(path, size), Piece(path, size // 2)), "b")],
    }


def _rows(folder: Path, converted: Converted) -> pa.Table:
    return pa.concat_tables(pq.read_table(folder / file) for split in converted.splits for file in split.files)

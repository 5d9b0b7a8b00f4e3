"""What the end of a Parquet file tells of the whole: its rows and columns, without the data before it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_datasets.data.incoming.formats import PARQUET_MAGIC
from mistudio_datasets.data.incoming.schema import columns_of
from mistudio_datasets.domain.datasets import Column

_FRAME_BYTES = 8
"""Behind the footer: its length in four bytes, least first, and the magic."""


@dataclass(frozen=True)
class Footer:
    """Rows and columns of a Parquet file."""

    rows: int
    columns: tuple[Column, ...]


def needed_bytes(tail: bytes) -> int:
    """How many bytes from the end of a file hold its footer; 0 if the file that ends so is no Parquet file."""
    if len(tail) < _FRAME_BYTES or not tail.endswith(PARQUET_MAGIC):
        return 0
    return int.from_bytes(tail[-_FRAME_BYTES:-4], "little") + _FRAME_BYTES


def parse_footer(tail: bytes) -> Footer | None:
    """What the last `needed_bytes` of a file, or more of them, tell; None where they are damaged."""
    try:
        file = pq.ParquetFile(pa.BufferReader(tail))
        return Footer(file.metadata.num_rows, columns_of(file.schema_arrow))
    except (pa.ArrowException, OSError):
        return None

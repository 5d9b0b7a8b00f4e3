"""Parquet files that others wrote: checked and counted through their footers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_servicekit.errors import MalformedFile


def open_parquet(path: Path, name: str) -> pq.ParquetFile:
    """The file with its footer read; `name` is what people call it.

    Raises:
        MalformedFile: it is no Parquet file, or its footer is broken.
    """
    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise MalformedFile(
            f"{name} is no readable Parquet file: {_reason(error)}",
            next_step="Check the file with another Parquet reader, and bring it in again",
            metadata={"file": name},
        ) from error


@contextmanager
def readable_pages(name: str) -> Iterator[None]:
    """Around reading rows of the file that people call `name`: raises MalformedFile where its pages are broken."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise MalformedFile(
            f"{name} is broken beyond its footer: {_reason(error)}",
            next_step="Bring the dataset in again",
            metadata={"file": name},
        ) from error


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")

"""What form a local file has, by its content first and its name second."""

from __future__ import annotations

from pathlib import PurePosixPath

from mistudio_datasets.data.incoming.csv_rows import sniff_delimiter
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.data.incoming.streams import SourceFile
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_servicekit.errors import DatasetEmpty, MalformedFile, UnsupportedFormat

PARQUET_MAGIC = b"PAR1"
_ARROW_MAGIC = b"ARROW1"
_HEAD_BYTES = 64 << 10
_ENDINGS = {
    ".jsonl": DataFormat.JSONL,
    ".ndjson": DataFormat.JSONL,
    ".json": DataFormat.JSONL,
    ".csv": DataFormat.CSV,
    ".tsv": DataFormat.CSV,
    ".parquet": DataFormat.PARQUET,
    ".txt": DataFormat.TEXT,
    ".text": DataFormat.TEXT,
    ".md": DataFormat.TEXT,
}


def detect_format(source: Source, wanted: DataFormat | None = None) -> DataFormat:
    """The form of a file; `wanted` when it was named and is possible.

    Raises:
        DatasetEmpty: the file has no bytes.
        MalformedFile: it was named Parquet (by `wanted` or its ending) and is none.
        UnsupportedFormat: it is binary in a form that no reader takes.
    """
    if source.size_bytes == 0:
        raise DatasetEmpty(f"{source.name} is empty", next_step="Upload a file that holds rows")
    with source.open() as file:
        if file.read(4) == PARQUET_MAGIC:
            return DataFormat.PARQUET
    with SourceFile(source) as opened:
        head = opened.peek(_HEAD_BYTES)
    expected = wanted or _by_name(source.name)
    if expected is DataFormat.PARQUET:
        raise _no_parquet(source.name, head)
    if b"\0" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise UnsupportedFormat(
            f"{source.name} is a binary file that begins with {head[:8]!r}",
            next_step="Upload JSON Lines, CSV, Parquet or plain text",
        )
    return expected or _by_content(head)


def _by_name(file_name: str) -> DataFormat | None:
    """By the last known ending: `rows.jsonl.gz` is JSON Lines."""
    endings = [ending.lower() for ending in PurePosixPath(file_name).suffixes]
    return next((_ENDINGS[ending] for ending in reversed(endings) if ending in _ENDINGS), None)


def _by_content(head: bytes) -> DataFormat:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith((b"{", b"[{")):
        return DataFormat.JSONL
    first = text.split(b"\n", 2)[:2]
    delimiter = sniff_delimiter(head).encode()
    is_table = len(first) == 2 and 0 < first[0].count(delimiter) == first[1].count(delimiter)
    return DataFormat.CSV if is_table else DataFormat.TEXT


def _no_parquet(file_name: str, head: bytes) -> MalformedFile:
    return MalformedFile(
        f"{file_name} is no Parquet file: it begins with {head[:8]!r} where {PARQUET_MAGIC!r} is expected",
        next_step="Upload a Parquet file, or name the file's real format",
        metadata={"file": file_name},
    )

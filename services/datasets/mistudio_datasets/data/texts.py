"""The texts of a split, batch by batch, with how many rows and bytes of the known total each batch is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_datasets.data.parquet_files import open_parquet
from mistudio_datasets.domain.datasets import SplitInfo
from mistudio_servicekit.errors import MalformedFile
from mistudio_servicekit.storage import confined

_MAX_BATCH_ROWS = 8192
_SAMPLE_TEXTS = 256
_SAMPLE_PLACES = 8
_SAMPLE_TEXT_CHARACTERS = 2048


@dataclass(frozen=True)
class TextBatch:
    """Texts in row order: null texts are empty and counted; `bytes` is their share of `Texts.bytes`."""

    texts: pa.StringArray
    null_texts: int
    bytes: float


@dataclass(frozen=True)
class _RowGroup:
    file: Path
    name: str
    index: int
    rows: int
    bytes: int
    footer: pq.FileMetaData


class Texts:
    """The text column of one split.

    Attributes:
        rows: rows in it.
        bytes: size of the column's uncompressed chunks, from the footers.
    """

    def __init__(self, folder: Path, split: SplitInfo, column: str) -> None:
        self._column = column
        self._groups = [
            group for name in split.files for group in _row_groups(confined(folder, name), name, column) if group.rows
        ]
        self.rows = sum(group.rows for group in self._groups)
        self.bytes = sum(group.bytes for group in self._groups)

    def sample(self) -> list[str]:
        """Beginnings of a few hundred texts from places spread evenly over the split."""
        step = max(1, len(self._groups) // _SAMPLE_PLACES)
        places = self._groups[::step][:_SAMPLE_PLACES]
        texts: list[str] = []
        for group in places:
            taken = next(self._read(group, _SAMPLE_TEXTS // len(places))).to_pylist()
            texts += [text[:_SAMPLE_TEXT_CHARACTERS] for text in taken if text]
        return texts

    def batches(self, batch_bytes: int) -> Iterator[TextBatch]:
        """All texts in row order, in batches of about `batch_bytes` of text; the same batches every time."""
        held: list[TextBatch] = []
        for batch in self._small_batches(batch_bytes):
            held.append(batch)
            if sum(part.texts.nbytes for part in held) >= batch_bytes:
                yield _joined(held)
                held = []
        if held:
            yield _joined(held)

    def _small_batches(self, batch_bytes: int) -> Iterator[TextBatch]:
        for group in self._groups:
            rows = max(1, min(_MAX_BATCH_ROWS, batch_bytes * group.rows // max(1, group.bytes)))
            for texts in self._read(group, rows):
                share = group.bytes * len(texts) / group.rows
                for part in _halved(texts, batch_bytes):
                    yield TextBatch(_without_nulls(part), part.null_count, share * len(part) / len(texts))

    def _read(self, group: _RowGroup, rows: int) -> Iterator[pa.StringArray]:
        file = pq.ParquetFile(group.file, metadata=group.footer, memory_map=True)
        try:
            for batch in file.iter_batches(rows, row_groups=[group.index], columns=[self._column]):
                yield cast(pa.StringArray, batch.column(0).cast(pa.string()))
        except (pa.ArrowInvalid, OSError) as error:
            raise MalformedFile(
                f"{group.name} is broken in row group {group.index}: {str(error).splitlines()[0].rstrip('.')}",
                next_step="Bring the dataset in again",
                metadata={"file": group.name},
            ) from error


def _row_groups(path: Path, name: str, column: str) -> Iterator[_RowGroup]:
    metadata = open_parquet(path, name).metadata
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        yield _RowGroup(path, name, index, group.num_rows, _column_bytes(group, column), metadata)


def _column_bytes(group: Any, column: str) -> int:
    chunks = (group.column(index) for index in range(group.num_columns))
    return sum(int(chunk.total_uncompressed_size) for chunk in chunks if chunk.path_in_schema == column)


def _halved(texts: pa.StringArray, batch_bytes: int) -> Iterator[pa.StringArray]:
    """Parts of at most twice `batch_bytes`, one text at least: dictionary-encoded rows may unpack to a lot."""
    if len(texts) <= 1 or texts.nbytes <= 2 * batch_bytes:
        yield texts
        return
    middle = len(texts) // 2
    yield from _halved(texts.slice(0, middle), batch_bytes)
    yield from _halved(texts.slice(middle), batch_bytes)


def _without_nulls(texts: pa.StringArray) -> pa.StringArray:
    # `fill_null` copies every text even where none is null.
    return cast(pa.StringArray, texts.fill_null("")) if texts.null_count else texts


def _joined(parts: list[TextBatch]) -> TextBatch:
    texts = parts[0].texts if len(parts) == 1 else pa.concat_arrays([part.texts for part in parts])
    return TextBatch(texts, sum(part.null_texts for part in parts), sum(part.bytes for part in parts))

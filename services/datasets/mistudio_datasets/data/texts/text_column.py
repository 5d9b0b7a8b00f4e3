"""Which column holds the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mistudio_datasets.domain.datasets import Column, ColumnKind, Layout
from mistudio_servicekit.errors import TextColumnMissing
from mistudio_servicekit.storage import confined

_USUAL_NAMES = ("text", "content", "document", "body", "article", "passage", "sentence", "code")
_SAMPLE_ROWS = 1000


def find_text_column(folder: Path, layout: Layout, split: str, wanted: str = "") -> str:
    """`wanted` if it is a text column; otherwise the one with a usual name, the only one, or the one with most text.

    Args:
        folder: the dataset's epoch folder; a few rows are read when names do not decide.
        layout: where its rows lie.
        split: whose rows are read.
        wanted: the column that was asked for, or empty.

    Raises:
        TextColumnMissing: `wanted` does not exist or holds no text, or no column holds text.
        SplitNotFound: no such split.
    """
    if wanted:
        return _require(layout, wanted)
    texts = [column.name for column in layout.columns if column.kind is ColumnKind.TEXT]
    if not texts:
        raise _missing("The dataset has no text column", layout)
    usual = usual_text_column(layout)
    if usual or len(texts) == 1:
        return usual or texts[0]
    return _fullest(folder, layout, split, texts)


def usual_text_column(layout: Layout) -> str:
    """The column with a usual name for text; empty if there is none."""
    by_lower_name = {column.name.lower(): column.name for column in reversed(layout.columns) if _is_text(column)}
    return next((by_lower_name[name] for name in _USUAL_NAMES if name in by_lower_name), "")


def _require(layout: Layout, wanted: str) -> str:
    column = next((column for column in layout.columns if column.name == wanted), None)
    if column is None:
        raise _missing(f"The dataset has no column {wanted!r}", layout)
    if column.kind is not ColumnKind.TEXT:
        raise _missing(f"The column {wanted!r} holds {column.type}, not text", layout)
    return wanted


def _missing(problem: str, layout: Layout) -> TextColumnMissing:
    columns = ", ".join(f"{column.name} ({column.type})" for column in layout.columns)
    next_step = f"Set text_column to a text column; the columns are {columns}"
    if not any(_is_text(column) for column in layout.columns):
        next_step = f"Choose a dataset with a text column; the columns are {columns}"
    return TextColumnMissing(problem, next_step=next_step, field="settings.text_column", metadata={"columns": columns})


def _is_text(column: Column) -> bool:
    return column.kind is ColumnKind.TEXT


def _fullest(folder: Path, layout: Layout, split: str, texts: list[str]) -> str:
    info = layout.split(split)
    name = next((name for name, rows in zip(info.files, info.file_rows, strict=True) if rows), None)
    if name is None:
        return texts[0]
    batch = next(pq.ParquetFile(confined(folder, name)).iter_batches(_SAMPLE_ROWS, columns=texts))
    return max(texts, key=lambda column: _characters(batch.column(column)))


def _characters(column: pa.Array[Any]) -> int:
    return int(pc.sum(pc.utf8_length(cast(pa.LargeStringArray, column.cast(pa.large_string())))).as_py() or 0)

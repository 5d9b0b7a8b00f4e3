"""Cells of many megabytes are rows like others; their files only lack statistics, which would copy them."""

import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from .accounting import jsonl, rows_of

HUGE = "x" * (40 << 20)


def has_statistics(file: pq.ParquetFile) -> bool:
    return file.metadata.row_group(0).column(0).statistics is not None


@pytest.mark.parametrize(("texts", "kept"), [(["a", HUGE, "b"], [False]), ([HUGE], [False]), (["a", "b"], [True])])
def test_huge_cells_are_stored_without_statistics(upload: Any, texts: list[str], kept: list[bool]) -> None:
    folder, layout = upload("rows.jsonl", jsonl(*({"text": text} for text in texts)))
    assert [row["text"] for row in rows_of(folder, layout)] == texts
    assert [has_statistics(pq.ParquetFile(folder / name)) for name in layout.split().files] == kept


def test_rows_before_a_huge_cell_keep_their_statistics(upload: Any) -> None:
    before = b"".join(b'{"text": "%d"}\n' % number for number in range(5000))
    folder, layout = upload("rows.jsonl", before + json.dumps({"text": HUGE}).encode())
    first, second = (pq.ParquetFile(folder / name) for name in layout.split().files)
    assert (has_statistics(first), has_statistics(second)) == (True, False)
    assert (layout.split().file_rows, layout.rows) == ((4000, 1001), 5001)

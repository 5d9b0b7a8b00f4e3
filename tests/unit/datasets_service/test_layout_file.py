"""The layout beside a dataset's files."""

from pathlib import Path

import pytest

from mistudio_datasets.data.incoming.layout_file import read_layout, write_layout
from mistudio_datasets.domain.datasets import Column, ColumnKind, DamagedLine, DataFormat, Layout, SplitInfo

LAYOUT = Layout(
    config="default",
    format=DataFormat.JSONL,
    splits=(SplitInfo("train", 3, 500, ("rows/train/a.parquet", "rows/train/b.parquet"), (1, 2)),),
    columns=(Column("text", "string", ColumnKind.TEXT),),
    damaged_count=1,
    damaged=(DamagedLine("ä.jsonl", 4, 1, 99, 5000, "not UTF-8", None, "/w" * 2000),),
)


def test_a_layout_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_layout(tmp_path, LAYOUT)
    assert read_layout(tmp_path) == LAYOUT


def test_a_dataset_that_is_gone_has_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_layout(tmp_path)


def test_a_summary_keeps_figures_and_drops_files() -> None:
    summary = LAYOUT.summary()
    assert (summary.rows, summary.bytes, summary.damaged_count) == (3, 500, 1)
    assert summary.splits[0].files == ()
    assert len(summary.damaged[0].base64 or "") == 200
    assert Layout.from_json(summary.to_json()) == summary

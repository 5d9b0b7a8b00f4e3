import json

import pytest

from mistudio_datasets.domain.datasets import Column, ColumnKind, DamagedLine, DataFormat, Layout, SplitInfo
from mistudio_servicekit.errors import DatasetEmpty, SplitNotFound


def layout_of(*names: str) -> Layout:
    splits = tuple(SplitInfo(name, 3, 10, ("a.parquet", "b.parquet"), (1, 2)) for name in names)
    damaged = (DamagedLine("x.jsonl", 7, 1, 40, 5, "not JSON", "{oops", None),)
    return Layout("en", DataFormat.JSONL, splits, (Column("text", "string", ColumnKind.TEXT),), 1, damaged)


def test_a_layout_survives_json() -> None:
    layout = layout_of("train", "test")
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


def test_rows_and_bytes_are_summed_over_splits() -> None:
    assert (layout_of("train", "test").rows, layout_of("train", "test").bytes) == (6, 20)


def test_without_a_name_the_only_split_is_taken() -> None:
    assert layout_of("validation").split().name == "validation"


def test_without_a_name_train_is_taken_among_several() -> None:
    assert layout_of("test", "train").split().name == "train"


def test_an_unknown_split_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SplitNotFound, match=r"'dev'.*'train', 'test'"):
        layout_of("train", "test").split("dev")


def test_a_dataset_without_splits_is_empty() -> None:
    with pytest.raises(DatasetEmpty):
        layout_of().split()

import time
from pathlib import Path

import datasets
import pytest

from mistudio_datasets.data.incoming.source_plan import plan_folder, plan_source
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_servicekit.errors import (
    ConfigNotFound,
    DatasetEmpty,
    MalformedFile,
    MissingField,
    MistudioError,
    SplitNotFound,
    UnsafePath,
    UnsupportedFormat,
)

CARD = b"""---
configs:
- config_name: en
  data_files:
  - split: train
    path: en/train*.parquet
  - split: test
    path: en/test.parquet
- config_name: de
  data_files: de/*.parquet
---
# A dataset
"""
NAMES = ["README.md", "en/train-0.parquet", "en/train-1.parquet", "en/test.parquet", "de/a.parquet", "logo.png"]


def test_only_the_files_of_the_named_config_and_splits_are_fetched() -> None:
    plan = plan_source(NAMES, {"README.md": CARD}, "en", ["train"])
    assert plan.files == ("README.md", "en/train-0.parquet", "en/train-1.parquet")
    assert plan.format is DataFormat.PARQUET


def test_without_splits_all_are_taken_in_the_order_of_the_card() -> None:
    assert list(plan_source(NAMES, {"README.md": CARD}, "en").splits) == ["train", "test"]


def test_csv_options_of_the_card_are_kept() -> None:
    card = b'---\nconfigs:\n- config_name: de\n  data_files: de/*.csv\n  sep: ";"\n  names: [a, b]\n---\n'
    plan = plan_source(["README.md", "de/a.csv"], {"README.md": card})
    assert (plan.format, plan.csv.delimiter, plan.csv.names) == (DataFormat.CSV, ";", ("a", "b"))


def test_csv_options_that_are_not_supported_are_named() -> None:
    card = b"---\nconfigs:\n- config_name: de\n  data_files: de/*.csv\n  skiprows: 3\n---\n"
    with pytest.raises(UnsupportedFormat, match="skiprows=3"):
        plan_source(["README.md", "de/a.csv"], {"README.md": card})


def test_without_a_card_splits_come_from_file_names() -> None:
    plan = plan_source(["data/train-00000-of-00001.parquet", "data/dev-00000-of-00001.parquet", "x.md"], {})
    assert {split: list(names) for split, names in plan.splits.items()} == {
        "train": ["data/train-00000-of-00001.parquet"],
        "dev": ["data/dev-00000-of-00001.parquet"],
    }


def test_a_downloaded_folder_gives_the_same_plan(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(CARD if name == "README.md" else b"")
    assert plan_folder(tmp_path, "en") == plan_source(NAMES, {"README.md": CARD}, "en")


@pytest.mark.parametrize(
    ("names", "cards", "config", "splits", "error", "text"),
    [
        (NAMES, {"README.md": CARD}, "fr", (), ConfigNotFound, "'fr'.*'en', 'de'"),
        (NAMES, {"README.md": CARD}, "en", ("dev",), SplitNotFound, "'dev'.*'train', 'test'"),
        (NAMES, {"README.md": CARD}, "", (), MissingField, "'en', 'de'"),
        (["README.md"], {"README.md": b"# empty"}, "", (), DatasetEmpty, "no data files"),
        (["load.py", "data.bin"], {}, "", (), UnsupportedFormat, ".bin, .py"),
        (["a.png", "b.png"], {}, "", (), UnsupportedFormat, "imagefolder"),
        (["data.zip"], {}, "", (), UnsupportedFormat, ".zip"),
        (["README.md", "a.csv"], {"README.md": b"---\nconfigs: [\n---\n"}, "", (), MalformedFile, "card"),
        (["README.md", "a.csv"], {"README.md": CARD}, "en", (), MalformedFile, "en/test"),
        (["../../etc/x.parquet"], {}, "", (), UnsafePath, "etc"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_is_refused(
    names: list[str],
    cards: dict[str, bytes],
    config: str,
    splits: tuple[str, ...],
    error: type[MistudioError],
    text: str,
) -> None:
    with pytest.raises(error, match=text) as caught:
        plan_source(names, cards, config, splits)
    assert "/tmp" not in caught.value.message


LAYOUTS = [
    ["train.csv", "test.csv", "README.txt"],
    ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/odd_name-00000-of-00001.parquet"],
    ["train/a.jsonl", "train/b.jsonl", "validation/a.jsonl", "notes/x.md", ".hidden/a.jsonl", "__pycache__/a.jsonl"],
    ["my_train_0.txt", "my_eval-1.txt", "sub/dir/dev.txt"],
    ["x.tsv", "y.tsv"],
    ["b.json", "a.json", "z/c.json", "dataset_info.json"],
    ["a.parquet", "b.csv", "c.parquet"],
]


@pytest.mark.parametrize("names", LAYOUTS)
def test_a_list_of_files_is_resolved_as_the_library_resolves_the_folder(tmp_path: Path, names: list[str]) -> None:
    folder = tmp_path / "repository"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    builder = datasets.load_dataset_builder(str(folder), cache_dir=str(tmp_path / "cache"))
    expected = {
        str(split): [Path(name).relative_to(folder.resolve()).as_posix() for name in found]
        for split, found in builder.config.data_files.items()
    }
    plan = plan_source(names, {})
    assert {split: list(found) for split, found in plan.splits.items()} == expected


def test_a_configuration_in_a_folder_of_its_own_takes_the_files_there() -> None:
    card = (
        b"---\nconfigs:\n- config_name: en\n  data_dir: en\n- config_name: de\n  data_dir: de\n  default: true\n---\n"
    )
    names = ["README.md", "en/train.csv", "en/test.csv", "de/x.csv"]
    assert plan_source(names, {"README.md": card}).splits == {"train": ("de/x.csv",)}
    assert plan_source(names, {"README.md": card}, "en").splits == {
        "train": ("en/train.csv",),
        "test": ("en/test.csv",),
    }


def test_a_configuration_without_files_is_empty() -> None:
    card = b"---\nconfigs:\n- config_name: a\n  data_files: '*.csv'\n- config_name: b\n  data_files: b/*.csv\n---\n"
    with pytest.raises(DatasetEmpty, match="'b' has no data files"):
        plan_source(["README.md", "a.csv"], {"README.md": card}, "b")


def test_a_repository_of_thirty_thousand_files_is_planned_in_seconds() -> None:
    names = [f"part-{number // 1000}/{number}.jsonl" for number in range(30_000)]
    began = time.process_time()
    assert len(plan_source(names, {}).files) == 30_000
    assert time.process_time() - began < 60  # about one

"""Which files of a repository are chosen."""

from __future__ import annotations

import pytest

from mistudio_hub.repository import RepoFile
from mistudio_hub.snapshot import select_files, select_model_files, total_bytes
from mistudio_servicekit.errors import InvalidArgument


def files(*paths: str) -> list[RepoFile]:
    return [RepoFile(path, 10, "0" * 40) for path in paths]


def paths(chosen: list[RepoFile]) -> list[str]:
    return [file.path for file in chosen]


def test_weights_in_other_formats_are_skipped_where_safetensors_exist() -> None:
    repository = files(
        "config.json",
        "tokenizer.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "consolidated.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "flax_model.msgpack",
        "onnx/model.onnx",
        "model.gguf",
        "original/consolidated.00.pth",
    )
    assert paths(select_model_files(repository)) == paths(repository[:4])


def test_weights_in_another_format_are_taken_where_safetensors_are_missing() -> None:
    repository = files("config.json", "pytorch_model.bin")
    assert select_model_files(repository) == repository


def test_a_consolidated_file_is_taken_where_it_is_the_only_one() -> None:
    repository = files("params.json", "consolidated.safetensors")
    assert select_model_files(repository) == repository


def test_what_a_pattern_asks_for_is_taken_in_any_format() -> None:
    repository = files("model.safetensors", "model.gguf", "a.gguf")
    assert paths(select_model_files(repository, allow=["*.gguf"], deny=["a*"])) == ["model.gguf"]


def test_a_denied_file_is_left_out_also_without_an_allowed_pattern() -> None:
    repository = files("data/train.parquet", "data/test.parquet", "README.md")
    assert paths(select_files(repository, deny=["data/test*"])) == ["data/train.parquet", "README.md"]


def test_patterns_that_leave_nothing_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"None of the 1 files matches '\*\.csv'\. Widen") as failure:
        select_files(files("a.parquet"), allow=["*.csv"])
    assert failure.value.field == "allow_patterns"
    with pytest.raises(InvalidArgument, match=r"None of the 1 files is left without 'a\*', 'b\*'\. Widen") as failure:
        select_files(files("a.parquet"), deny=["a*", "b*"])
    assert failure.value.field == "deny_patterns"
    with pytest.raises(InvalidArgument, match=r"matches 'a\*' and is left without '\*'\. Widen"):
        select_files(files("a.parquet"), allow=["a*"], deny=["*"])


def test_the_total_is_the_sum_of_all_sizes() -> None:
    assert total_bytes(files("a", "b")) == 20

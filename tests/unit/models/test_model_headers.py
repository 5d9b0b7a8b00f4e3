"""Exact parameters from safetensors headers."""

from __future__ import annotations

import json

import pytest

from mistudio_models.engine.headers import parameters_by_dtype, stored_tensors
from mistudio_servicekit.errors import MalformedFile


def test_parameters_of_a_single_file_are_exact_by_dtype(source):
    source.write_weights("model.safetensors", {"a": (3, 5), "b": (7,), "scalar": ()})
    assert parameters_by_dtype(source) == {"F32": 3 * 5 + 7 + 1}


def test_parameters_of_all_shards_of_the_index_are_summed(source):
    source.write_weights("model-00001-of-00002.safetensors", {"a": (3, 5)}, "float16")
    source.write_weights("model-00002-of-00002.safetensors", {"b": (2, 2), "c": (4,)})
    source.write_weights("consolidated.safetensors", {"a": (3, 5)})
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    source.write_json("model.safetensors.index.json", {"weight_map": names})
    assert parameters_by_dtype(source) == {"F16": 15, "F32": 8}


def test_no_weights_are_read(source):
    source.write_weights("model.safetensors", {"large": (2048, 2048)})
    parameters_by_dtype(source)
    assert source.bytes_read <= 64 * 1024


def test_a_header_longer_than_the_first_read_is_read_whole(source):
    tensors = {f"layers.{number}.weight_with_a_rather_long_name": (2,) for number in range(2000)}
    source.write_weights("model.safetensors", tensors)
    assert parameters_by_dtype(source) == {"F32": 4000}


def test_a_repository_without_safetensors_has_no_parameters(source):
    (source.folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert parameters_by_dtype(source) == {}


def _file(header: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header


_TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
_IMPOSSIBLE: list[dict[str, object]] = [
    {"shape": [-2]},
    {"shape": [True]},
    {"shape": [10**30]},
    {"shape": [1] * 100},
    {"dtype": "two words"},
    {"dtype": "F" * 1000},
    {"data_offsets": [0, 10**6]},
    {"data_offsets": [8, 0]},
    {"data_offsets": [0]},
]


def test_a_tensor_is_told_by_name_with_its_dtype_and_shape(source):
    source.write_weights("model.safetensors", {"a": (3, 5), "scalar": ()}, "float16")
    assert stored_tensors(source) == {"a": ("F16", (3, 5)), "scalar": ("F16", ())}


def test_headers_of_many_shards_are_read_in_one_piece_each_and_no_longer_than_they_are(source):
    names: dict[str, str] = {}
    for shard in range(20):
        file, tensors = f"model-{shard:05}-of-00020.safetensors", [f"layers.{shard}.part.{n}" for n in range(50)]
        source.write_weights(file, dict.fromkeys(tensors, (64, 64)))
        names |= dict.fromkeys(tensors, file)
    source.write_json("model.safetensors.index.json", {"weight_map": names})
    assert parameters_by_dtype(source) == {"F32": 20 * 50 * 64 * 64}
    index = source.sizes["model.safetensors.index.json"]
    starts = [(source.folder / file).read_bytes()[:8] for file in set(names.values())]
    headers = sum(8 + int.from_bytes(start, "little") for start in starts)
    assert headers < source.bytes_read - index < 2 * headers
    assert source.reads == 1 + 20


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>no weights here</html>",
        _file(b"{}", length=10_000),
        _file(b"not json"),
        _file(b"[]"),
        _file(json.dumps({"a": {"dtype": "F32"}}).encode()),
        _file(json.dumps({"a": {"dtype": "F32", "shape": ["2"]}}).encode()),
        _file(b'{"a":' * 10_000),
        *(_file(json.dumps({"a": {**_TENSOR, **change}}).encode()) + bytes(8) for change in _IMPOSSIBLE),
    ],
)
def test_a_damaged_header_is_a_typed_error_that_names_the_file(source, content):
    (source.folder / "model.safetensors").write_bytes(content)
    with pytest.raises(MalformedFile, match=r"model\.safetensors"):
        parameters_by_dtype(source)


@pytest.mark.parametrize("index", [[], {}, {"weight_map": ["a"]}, {"weight_map": {"a": "missing.safetensors"}}])
def test_an_index_that_cannot_be_followed_is_a_typed_error(source, index):
    source.write_json("model.safetensors.index.json", index)
    with pytest.raises(MalformedFile, match=r"index\.json"):
        parameters_by_dtype(source)

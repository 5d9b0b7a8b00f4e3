"""Outlines: a model's configuration and tensors without its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.headers import StoredTensor
from mistudio_models.engine.outline import Outline, read_outline, stored_bytes, value_bits
from tests.model_families import make_model


def test_an_outline_names_every_tensor_of_every_file(tmp_path: Path) -> None:
    whole = read_outline(FolderSource(make_model("llama", tmp_path / "one", dtype=torch.bfloat16)))
    parts = make_model("llama", tmp_path / "many", dtype=torch.bfloat16, max_shard_size="100KB")
    assert len(list(parts.glob("*.safetensors"))) > 3
    assert read_outline(FolderSource(parts)).tensors == whole.tensors
    assert whole.tensors["lm_head.weight"] == StoredTensor("BF16", (512, 64))
    assert whole.parameters_by_dtype == {"BF16": 250304}
    assert (whole.model_type, whole.architecture, whole.quantization) == ("llama", "LlamaForCausalLM", "")


def test_an_outline_survives_as_json(tmp_path: Path) -> None:
    outline = read_outline(FolderSource(make_model("qwen2", tmp_path)))
    assert Outline.from_json(json.loads(json.dumps(outline.to_json()))) == outline


def test_a_model_without_weights_has_an_outline_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": ["llama"], "architectures": "LlamaForCausalLM"}')
    outline = read_outline(FolderSource(tmp_path))
    assert (outline.tensors, outline.model_type, outline.architecture) == ({}, "", "")


@pytest.mark.parametrize(
    ("dtype", "bits"), [("F64", 64), ("BF16", 16), ("F8_E4M3", 8), ("F4", 4), ("U8", 8), ("BOOL", 8)]
)
def test_dtypes_take_the_bits_in_their_names(dtype: str, bits: int) -> None:
    assert value_bits(dtype) == bits
    assert stored_bytes(StoredTensor(dtype, (3, 5))) == -(-15 * bits // 8)

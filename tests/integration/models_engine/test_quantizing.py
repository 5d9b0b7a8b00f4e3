"""Which modules are quantized, which stay, and why; held against what transformers and bitsandbytes really do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt

from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.outline import Outline, read_outline
from mistudio_models.engine.quantizing import (
    fails_on_cpu,
    numberless,
    quantization_config,
    quantized_modules,
    skipped_modules,
)
from mistudio_models.engine.skeleton import skeleton
from tests.model_families import FAMILIES, make_model

from .loading import BF16, INT8, NF4, load


def built(family: str, folder: Path) -> torch.nn.Module:
    return skeleton(read_outline(FolderSource(make_model(family, folder))))


def reasons(family: str, folder: Path, device_type: str = "cpu") -> dict[str, str]:
    return {skip.path: skip.reason for skip in skipped_modules(built(family, folder), NF4, device_type)}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_said_to_be_quantized_is_what_is_quantized(family: str, tmp_path: Path) -> None:
    model = built(family, tmp_path)
    for settings in (INT8, NF4) if family in ("llama", "odd") else (NF4,):
        loaded = load(tmp_path, settings).model
        quantized = {path for path, module in loaded.named_modules() if isinstance(module, Linear4bit | Linear8bitLt)}
        assert quantized == set(quantized_modules(model, settings, "cpu"))
        skipped = {skip.path for skip in skipped_modules(model, settings, "cpu")}
        with_weights = {path for path, module in model.named_modules() if [*module.parameters(recurse=False)]}
        assert quantized | skipped == with_weights
        assert not quantized & skipped


def test_plain_formats_quantize_and_skip_nothing(tmp_path: Path) -> None:
    model = built("llama", tmp_path)
    assert not quantized_modules(model, BF16, "cpu")
    assert not skipped_modules(model, BF16, "cpu")
    assert quantization_config(model, BF16, "cpu") is None


def test_the_output_head_stays(tmp_path: Path) -> None:
    assert "accuracy" in reasons("llama", tmp_path)["lm_head"]


def test_a_tied_head_stays_because_it_is_shared(tmp_path: Path) -> None:
    assert "shares its weights" in reasons("qwen2", tmp_path)["lm_head"]


def test_fused_experts_stay(tmp_path: Path) -> None:
    assert "fused" in reasons("mixtral", tmp_path)["model.layers.0.mlp.experts"]


def test_layers_whose_shape_fails_on_a_cpu_stay_there_and_there_only(tmp_path: Path) -> None:
    on_cpu, on_gpu = reasons("odd", tmp_path), reasons("odd", tmp_path, "cuda")
    assert "200 × 128" in on_cpu["model.layers.0.mlp.up_proj"]
    assert "128 × 200" in on_cpu["model.layers.2.mlp.down_proj"]
    assert "model.layers.0.self_attn.q_proj" not in on_cpu
    assert not any("mlp" in path for path in on_gpu)
    eight_bits = {skip.path for skip in skipped_modules(built("odd", tmp_path), INT8, "cpu")}
    assert not any("mlp" in path for path in eight_bits)


def test_a_path_in_every_layer_is_one_pattern(tmp_path: Path) -> None:
    config = quantization_config(built("odd", tmp_path), NF4, "cpu")
    assert sorted(config.llm_int8_skip_modules) == [
        "lm_head", r"model\.layers\.\d+\.mlp\.down_proj", r"model\.layers\.\d+\.mlp\.gate_proj",
        r"model\.layers\.\d+\.mlp\.up_proj",
    ]  # fmt: skip


def test_a_layer_that_stays_does_not_take_the_others_of_its_name_along() -> None:
    model = skeleton(Outline({**FAMILIES["llama"].config, "model_type": "llama", "num_hidden_layers": 12}, {}))
    model.get_submodule("model.layers.1.mlp").up_proj = torch.nn.Linear(64, 100, device="meta")
    quantized = quantized_modules(model, NF4, "cpu")
    assert "model.layers.1.mlp.up_proj" not in quantized
    assert {f"model.layers.{n}.mlp.up_proj" for n in (0, 2, 10, 11)} <= quantized.keys()


@pytest.mark.skipif(not has_avx512bf16(), reason="only CPUs with AVX512-BF16 repack 4-bit weights")
@pytest.mark.parametrize("double", [False, True])
def test_layers_fail_on_a_cpu_exactly_where_they_are_said_to(double: bool) -> None:
    for rows in (1, 16, 31, 32, 48, 64, 200):
        for columns in (2, 32, 63, 64, 65, 96, 128, 200):
            assert _fails(rows, columns, double) == fails_on_cpu(rows, columns), (rows, columns)


def _fails(rows: int, columns: int, double: bool) -> bool:
    layer = Linear4bit(columns, rows, compute_dtype=torch.bfloat16, compress_statistics=double, quant_type="nf4")
    layer = layer.to(torch.bfloat16).to("cpu").eval()
    try:
        with torch.no_grad():
            layer(torch.ones(3, columns, dtype=torch.bfloat16))
    except (AssertionError, RuntimeError):
        return True
    return False


def test_numbers_of_layers_and_experts_become_stars() -> None:
    assert numberless("model.layers.10.mlp.experts.3.w1") == "model.layers.*.mlp.experts.*.w1"
    assert numberless("h.0.attn.c_attn2") == "h.*.attn.c_attn2"
    assert numberless("0.auto_model") == "*.auto_model"

"""Estimates that need no weights: known figures, headers alone, files that are quantized already, and bad models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, BitsAndBytesConfig

from mistudio_models.domain.weights import EVERY_FORMAT, LoadSettings, Need, WeightFormat
from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.headers import StoredTensor
from mistudio_models.engine.measuring import weights_bytes
from mistudio_models.engine.memory import needs
from mistudio_models.engine.outline import Outline, read_outline
from mistudio_servicekit.errors import ArchitectureUnsupported, MalformedFile, MistudioError, WeightsMissing
from tests.model_families import make_model

from .allocations import traced
from .loading import BF16, FP16, FP32, INT8, NF4, load
from .test_memory_families import run

LLAMA_8B: Mapping[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
PARAMETERS_8B = 8_030_261_248
GIB = 2**30


def need(
    outline: Outline, settings: LoadSettings, *, sequences: int = 1, tokens: int = 128, device_type: str = "cpu"
) -> Need:
    (found,) = needs(outline, [settings], batch_size=sequences, sequence_length=tokens, device_type=device_type)
    return found


def outline_of(config: Mapping[str, Any], dtype: str = "BF16") -> Outline:
    return Outline(config, {"any": StoredTensor(dtype, (1,))})


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_an_8b_model_takes_in_nf4_what_it_is_known_to_take(device_type: str) -> None:
    weights = need(outline_of(LLAMA_8B), NF4, device_type=device_type).weights_bytes
    assert 5.59 < weights / GIB < 5.7
    # Half a byte a parameter, as it is commonly estimated, is a third too low.
    assert PARAMETERS_8B * 0.5 / weights == pytest.approx(0.666, abs=0.01)


def test_an_8b_model_takes_two_bytes_a_parameter_in_bf16_and_a_load_takes_no_more() -> None:
    found = need(outline_of(LLAMA_8B), BF16)
    assert found.weights_bytes == pytest.approx(2 * PARAMETERS_8B, rel=1e-6)
    assert found.load_peak_bytes == pytest.approx(found.weights_bytes, rel=1e-6)


def test_shared_key_value_heads_count_as_they_are() -> None:
    # 32 layers, keys and values of 8 heads of 128, in 2 bytes.
    found = need(outline_of(LLAMA_8B), BF16, sequences=3, tokens=1000)
    assert found.key_value_bytes == 32 * 2 * 8 * 128 * 2 * 3 * 1000


def test_memory_grows_with_the_batch_and_with_its_length() -> None:
    outline = outline_of(LLAMA_8B)
    one, more, longer = (need(outline, NF4, sequences=n, tokens=t) for n, t in ((1, 512), (4, 512), (1, 2048)))
    assert one.weights_bytes == more.weights_bytes == longer.weights_bytes
    assert one.run_peak_bytes < more.run_peak_bytes
    assert one.run_peak_bytes < longer.run_peak_bytes


def test_formats_are_ordered_by_what_they_take() -> None:
    found = needs(outline_of(LLAMA_8B), EVERY_FORMAT, batch_size=1, sequence_length=128, device_type="cuda")
    by_format = {str(each.settings.format) + "+" * each.settings.double_quantization: each for each in found}
    weights = [by_format[name].weights_bytes for name in ("FP32", "BF16", "INT8", "NF4", "NF4+")]
    assert weights == sorted(weights, reverse=True)
    assert by_format["NF4"].weights_bytes == by_format["FP4"].weights_bytes
    assert all(each.load_peak_bytes >= each.weights_bytes for each in found)


def test_settings_are_told_with_every_default_filled_in() -> None:
    assert need(outline_of(LLAMA_8B, "F32"), LoadSettings()).settings.format is WeightFormat.FP32
    assert need(outline_of(LLAMA_8B, "F16"), LoadSettings()).settings.format is WeightFormat.FP16


def test_quantized_and_unquantized_parameters_are_all_parameters() -> None:
    found = need(outline_of(LLAMA_8B), NF4)
    assert found.quantized_parameters + sum(each.parameters for each in found.unquantized) == PARAMETERS_8B
    by_path = {each.path: each for each in found.unquantized}
    assert by_path["model.layers.*.input_layernorm"].modules == 32
    assert by_path["lm_head"].bytes == 128256 * 4096 * 2
    assert "accuracy" in by_path["lm_head"].reason


def test_compressed_keys_and_values_are_predicted_as_they_are_kept(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "deepseek_v3", vocab_size=512, hidden_size=64, intermediate_size=128, moe_intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=32, kv_lora_rank=32,
        qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=12, n_routed_experts=4, num_experts_per_tok=2, n_group=2,
        topk_group=1, first_k_dense_replace=1, max_position_embeddings=256, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = load(tmp_path, BF16).model
    running = traced(lambda: run(model))
    found = need(read_outline(FolderSource(tmp_path)), BF16, sequences=2, tokens=96)
    assert found.weights_bytes == weights_bytes(model)
    assert found.key_value_bytes == running.result
    assert running.peak_bytes <= found.key_value_bytes + found.activation_bytes


def test_modules_that_an_architecture_keeps_in_32_bits_count_as_such(tmp_path: Path) -> None:
    config = AutoConfig.for_model(
        "t5", vocab_size=512, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_decoder_layers=2, num_heads=4
    )
    AutoModel.from_config(config).save_pretrained(tmp_path)
    for settings in (FP16, BF16, INT8, NF4):
        assert need(read_outline(FolderSource(tmp_path)), settings).weights_bytes == weights_bytes(
            load(tmp_path, settings).model
        )
    kept = {each.path: each.reason for each in need(read_outline(FolderSource(tmp_path)), NF4).unquantized}
    assert "more than 16 bits" in kept["encoder.block.*.layer.*.DenseReluDense.wo"]


def test_layers_with_heads_of_their_own_size_count_at_the_largest() -> None:
    widths = {"num_key_value_heads": 4, "head_dim": 256, "num_hidden_layers": 6}
    gemma = {"model_type": "gemma4_text", "architectures": ["Gemma4ForCausalLM"], **widths}
    # The sixth layer attends to everything, with heads of 512.
    assert need(outline_of(gemma), BF16, tokens=100).key_value_bytes == 6 * 2 * 4 * 512 * 2 * 100


def test_figures_by_other_names_count() -> None:
    xglm = {"model_type": "xglm", "num_layers": 3, "d_model": 64, "attention_heads": 4, "ffn_dim": 128}
    assert need(outline_of(xglm), BF16, tokens=100).key_value_bytes == 3 * 2 * 64 * 2 * 100


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # of torch, about a width of 0
@pytest.mark.parametrize("value", [-1, 0, 1, 10**9, 2**31 - 1, "x", None, [], {}, True, float("nan"), 3.5, [None]])
def test_hostile_figures_end_in_an_estimate_or_in_a_typed_error(value: Any) -> None:
    for key in (*LLAMA_8B, "text_config", "kv_lora_rank", "v_head_dim", "num_experts_per_tok", "quantization_config"):
        try:
            found = need(outline_of({**LLAMA_8B, "num_hidden_layers": 1, key: value}), NF4)
        except MistudioError as error:
            assert isinstance(error, MalformedFile | ArchitectureUnsupported), key
        else:
            assert found.load_peak_bytes >= found.weights_bytes > 0, key
            assert found.activation_bytes > 0, key


def test_tied_weights_that_are_stored_twice_count_twice_while_they_are_loaded() -> None:
    tied = {**LLAMA_8B, "tie_word_embeddings": True}
    shape = (128256, 4096)
    names = ("model.embed_tokens.weight", "lm_head.weight")
    once, twice = (Outline(tied, {name: StoredTensor("BF16", shape) for name in names[:n]}) for n in (1, 2))
    assert need(twice, BF16).weights_bytes == need(once, BF16).weights_bytes
    assert need(twice, BF16).load_peak_bytes - need(once, BF16).load_peak_bytes == 128256 * 4096 * 2


@pytest.mark.parametrize("quantization", [{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, {"load_in_8bit": True}])
def test_files_that_are_quantized_already_take_what_they_hold(quantization: dict[str, Any], tmp_path: Path) -> None:
    plain = make_model("llama", tmp_path / "plain", hidden_size=256, intermediate_size=512, dtype=torch.bfloat16)
    quantized = AutoModelForCausalLM.from_pretrained(
        plain, dtype=torch.bfloat16, device_map={"": "cpu"}, quantization_config=BitsAndBytesConfig(**quantization)
    )
    quantized.save_pretrained(tmp_path / "quantized")
    outline = read_outline(FolderSource(tmp_path / "quantized"))
    for settings in (BF16, FP32):
        found = needs(outline, [settings, *EVERY_FORMAT], batch_size=2, sequence_length=96, device_type="cpu")
        assert len(found) == 1
        assert not found[0].settings.format
        loaded = load(tmp_path / "quantized", settings)
        assert loaded.quantization == outline.quantization
        model = loaded.model
        assert found[0].weights_bytes == pytest.approx(weights_bytes(model), rel=0.02)
        assert traced(partial(run, model)).peak_bytes <= found[0].key_value_bytes + found[0].activation_bytes


def test_unquantized_weights_beside_other_quantized_ones_get_the_compute_dtype() -> None:
    names = {"lm_head.weight": StoredTensor("F16", (8, 8)), "layer.qweight": StoredTensor("I32", (8, 8))}
    outline = Outline({**LLAMA_8B, "quantization_config": {"quant_method": "gptq", "bits": 4}}, names)
    assert need(outline, BF16).weights_bytes == 64 * 2 + 64 * 4
    assert need(outline, FP32).weights_bytes == 64 * 4 + 64 * 4


@pytest.mark.parametrize(("device_type", "bytes_a_parameter"), [("cpu", 2), ("cuda", 1)])
def test_8_bit_floats_become_16_bit_ones_on_a_cpu(device_type: str, bytes_a_parameter: int) -> None:
    config = {**LLAMA_8B, "quantization_config": {"quant_method": "fp8"}}
    outline = Outline(config, {"model.layers.0.mlp.up_proj.weight": StoredTensor("F8_E4M3", (14336, 4096))})
    assert need(outline, BF16, device_type=device_type).weights_bytes == 14336 * 4096 * bytes_a_parameter


def test_an_unknown_architecture_is_estimated_by_the_headers_of_its_files(tmp_path: Path) -> None:
    known = read_outline(FolderSource(make_model("llama", tmp_path)))
    unknown = Outline({**known.config, "model_type": "never_heard_of"}, known.tensors)
    for settings in EVERY_FORMAT:
        by_modules, by_headers = need(known, settings), need(unknown, settings)
        assert (by_modules.basis, by_headers.basis) == ("modules", "headers")
        # The rotary embedding's frequencies are in no file.
        assert by_headers.weights_bytes == pytest.approx(by_modules.weights_bytes, rel=0.001)
        assert by_headers.quantized_parameters == by_modules.quantized_parameters
        assert by_headers.run_peak_bytes >= by_modules.run_peak_bytes - 1024
    assert any(each.path == "model.layers.*.input_layernorm" for each in need(unknown, NF4).unquantized)


def test_layers_that_fail_on_a_cpu_count_as_unquantized_by_headers_as_well(tmp_path: Path) -> None:
    known = read_outline(FolderSource(make_model("odd", tmp_path)))
    unknown = Outline({**known.config, "model_type": "never_heard_of"}, known.tensors)
    assert need(unknown, NF4).quantized_parameters == need(known, NF4).quantized_parameters
    assert need(unknown, NF4, device_type="cuda").quantized_parameters > need(unknown, NF4).quantized_parameters


def test_an_unknown_architecture_without_headers_says_what_is_missing() -> None:
    with pytest.raises(WeightsMissing, match=r"never_heard_of.*safetensors"):
        need(Outline({"model_type": "never_heard_of"}, {}), BF16)

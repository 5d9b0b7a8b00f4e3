"""Files that are quantized already: what they are called, and how many parameters they stand for."""

from __future__ import annotations

import pytest

from mistudio_models.engine.headers import StoredTensor
from mistudio_models.engine.prequantized import parameters_by_dtype, quantization

_PACKED = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}

_WORDS = [
    ({}, ""),
    ({"quantization_config": None}, ""),
    ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
    ({"quantization_config": {"quant_method": "awq"}}, "awq"),
    ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "fp8"),
    ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4"),
    ({"quantization_config": _PACKED}, "compressed-tensors"),
    ({"compression_config": _PACKED}, "compressed-tensors"),
    ({"text_config": {"quantization_config": _PACKED}}, "compressed-tensors"),
    ({"quantization_config": {"load_in_8bit": True}}, "bitsandbytes-int8"),
    ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "bitsandbytes-fp4"),
    (
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}},
        "bitsandbytes-nf4",
    ),
    ({"quantization_config": {"bits": 4}}, "unknown"),
    ({"quantization_config": {"quant_method": "two words\0"}}, "unknown"),
]


@pytest.mark.parametrize(("config", "word"), _WORDS, ids=[str(number) for number in range(len(_WORDS))])
def test_a_quantization_is_named_in_one_word(config, word):
    assert quantization(config) == word


_IN, _OUT, _GROUP = 256, 128, 64
_GROUPS = _IN // _GROUP
_LAYERS = [
    (
        "gptq",
        {"quant_method": "gptq", "bits": 4},
        {
            "qweight": ("I32", (_IN // 8, _OUT)),
            "qzeros": ("I32", (_GROUPS, _OUT // 8)),
            "scales": ("F16", (_GROUPS, _OUT)),
            "g_idx": ("I32", (_IN,)),
        },
        "I32",
    ),
    ("gptq of 3 bits", {"quant_method": "gptq", "bits": 3}, {"qweight": ("I32", (_IN * 3 // 32, _OUT))}, "I32"),
    (
        "awq",
        {"quant_method": "awq", "bits": 4},
        {
            "qweight": ("I32", (_IN, _OUT // 8)),
            "qzeros": ("I32", (_GROUPS, _OUT // 8)),
            "scales": ("F16", (_GROUPS, _OUT)),
        },
        "I32",
    ),
    (
        "compressed-tensors of 4 bits",
        _PACKED,
        {
            "weight_packed": ("I32", (_OUT, _IN // 8)),
            "weight_scale": ("BF16", (_OUT, _GROUPS)),
            "weight_shape": ("I64", (2,)),
        },
        "I32",
    ),
    (
        "compressed-tensors of 4-bit floats",
        {"quant_method": "compressed-tensors"},
        {
            "weight_packed": ("U8", (_OUT, _IN // 2)),
            "weight_scale": ("F8_E4M3", (_OUT, _IN // 16)),
            "weight_global_scale": ("F32", (1,)),
            "input_global_scale": ("F32", (1,)),
        },
        "U8",
    ),
    (
        "fp8 in blocks",
        {"quant_method": "fp8"},
        {"weight": ("F8_E4M3", (_OUT, _IN)), "weight_scale_inv": ("F32", (1, 2))},
        "F8_E4M3",
    ),
    (
        "mxfp4",
        {"quant_method": "mxfp4"},
        {"down_proj_blocks": ("U8", (_OUT, _IN // 32, 16)), "down_proj_scales": ("U8", (_OUT, _IN // 32))},
        "U8",
    ),
]


@pytest.mark.parametrize(
    ("settings", "layer", "dtype"), [each[1:] for each in _LAYERS], ids=[each[0] for each in _LAYERS]
)
def test_every_code_of_a_packed_layer_counts_and_its_constants_do_not(settings, layer, dtype):
    tensors = {f"layers.0.proj.{name}": StoredTensor(*tensor) for name, tensor in layer.items()}
    tensors["norm.weight"] = StoredTensor("F16", (_OUT,))
    counts = parameters_by_dtype(tensors, {"quantization_config": settings})
    assert counts == {dtype: _IN * _OUT, "F16": _OUT}


def test_tensors_of_a_plain_model_count_as_they_are():
    tensors = {"a.scales": StoredTensor("F32", (3, 5)), "b.qweight": StoredTensor("I32", (7,))}
    assert parameters_by_dtype(tensors, {}) == {"F32": 15, "I32": 7}

"""Configurations of models as they are published, the models behind them without weights, and ways to hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_models.domain.weights import EVERY_FORMAT, LoadSettings, WeightFormat
from mistudio_models.engine.headers import StoredTensor
from mistudio_models.engine.outline import Outline
from mistudio_models.engine.skeleton import skeleton

Config = Mapping[str, Any]

SETTINGS = tuple(settings.settled({"BF16": 1}) for settings in EVERY_FORMAT)
BF16, INT8, NF4 = (
    LoadSettings(format_).settled({}) for format_ in (WeightFormat.BF16, WeightFormat.INT8, WeightFormat.NF4)
)

LLAMA_8B: Config = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
LLAMA_70B: Config = {
    **LLAMA_8B,
    "hidden_size": 8192,
    "intermediate_size": 28_672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
MOE_30B: Config = {
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": False,
}


def outline_of(config: Config) -> Outline:
    """The outline of a model with this configuration and BF16 weights."""
    parameters = skeleton(Outline(config, {})).named_parameters()
    return Outline(config, {name: StoredTensor("BF16", tuple(parameter.shape)) for name, parameter in parameters})

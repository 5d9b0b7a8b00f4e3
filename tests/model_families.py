"""A tiny real model of every family, random weights and a trained tokenizer, saved as `save_pretrained` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.tokenizer_families import english_paragraphs, train

VOCABULARY = 512
"""Entries of the tokenizer and of every model's embedding."""

CONTEXT = 256
"""Tokens that every model can read."""


@dataclass(frozen=True)
class Family:
    """A model family: its type, the class its checkpoints are saved from, and a tiny configuration."""

    model_type: str
    model_class: str
    config: Mapping[str, Any]


_SIZES = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
# Two key and value heads for four attention heads, and an MLP wider than the model: no two widths are the same.
_LLAMA_LIKE = {
    **_SIZES,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
}
_GEMMA_LIKE = {**_LLAMA_LIKE, "tie_word_embeddings": True, "sliding_window": 32}
_ENCODER_LIKE = {
    **_SIZES,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
}

FAMILIES: Mapping[str, Family] = {
    "gpt2": Family(
        "gpt2",
        "GPT2LMHeadModel",
        {**_SIZES, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_inner": 192, "n_positions": CONTEXT},
    ),
    "llama": Family("llama", "LlamaForCausalLM", _LLAMA_LIKE),
    "mistral": Family("mistral", "MistralForCausalLM", {**_LLAMA_LIKE, "sliding_window": 32}),
    "qwen2": Family("qwen2", "Qwen2ForCausalLM", {**_LLAMA_LIKE, "tie_word_embeddings": True}),
    "qwen3": Family("qwen3", "Qwen3ForCausalLM", _LLAMA_LIKE),
    "gemma2": Family("gemma2", "Gemma2ForCausalLM", {**_GEMMA_LIKE, "query_pre_attn_scalar": 32}),
    "gemma3_text": Family(
        "gemma3_text", "Gemma3ForCausalLM", {**_GEMMA_LIKE, "query_pre_attn_scalar": 32, "sliding_window_pattern": 2}
    ),
    "gpt_neox": Family("gpt_neox", "GPTNeoXForCausalLM", {**_ENCODER_LIKE, "tie_word_embeddings": False}),
    "phi": Family("phi", "PhiForCausalLM", {**_ENCODER_LIKE, "tie_word_embeddings": False}),
    "bert": Family("bert", "BertForMaskedLM", _ENCODER_LIKE),
    "mixtral": Family(
        "mixtral", "MixtralForCausalLM", {**_LLAMA_LIKE, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "qwen3_moe": Family(
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        {**_LLAMA_LIKE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128},
    ),
    "opt": Family(
        "opt",
        "OPTForCausalLM",
        {
            **_SIZES,
            "hidden_size": 64,
            "word_embed_proj_dim": 64,
            "ffn_dim": 192,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "max_position_embeddings": CONTEXT,
        },
    ),
    # Its attention can be quantized to 4 bits on a CPU, its MLP cannot: 200 is no multiple of 64, nor of 32.
    "odd": Family("llama", "LlamaForCausalLM", {**_LLAMA_LIKE, "hidden_size": 128, "intermediate_size": 200}),
}


def make_model(
    name: str,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    max_shard_size: str = "5GB",
    **config_changes: Any,
) -> Path:
    """Write the family's model and its tokenizer to `folder`; the same bytes for the same arguments.

    Args:
        name: of the family, a key of `FAMILIES`.
        folder: that the files go to; made where it is missing.
        dtype: of the weights.
        max_shard_size: of a file, such as `100KB`, for a model of several.
        **config_changes: to the family's configuration, such as `num_hidden_layers=1`.
    """
    family = FAMILIES[name]
    config = transformers.AutoConfig.for_model(family.model_type, **{**family.config, **config_changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, family.model_class)(config)
    model.to(dtype).save_pretrained(folder, max_shard_size=max_shard_size)
    return save_tokenizer(folder)


def save_tokenizer(folder: Path) -> Path:
    """Write the tokenizer that all families share to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(_tokenizer_json(), encoding="utf-8")
    token = "<|endoftext|>"
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "bos_token": token,
        "eos_token": token,
        "pad_token": token,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@cache
def _tokenizer_json() -> str:
    return train("byte-level", english_paragraphs()[:2000], VOCABULARY).to_str()

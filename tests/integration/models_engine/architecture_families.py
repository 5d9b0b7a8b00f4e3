"""Families beyond those of `tests.model_families`: a tiny configuration, and what each of their layers has."""

from collections.abc import Mapping
from typing import Any

from mistudio_models.domain.architecture import HookPointKind

PRE, MID, POST = HookPointKind.RESID_PRE, HookPointKind.RESID_MID, HookPointKind.RESID_POST
ATTENTION, MLP = HookPointKind.ATTN_OUT, HookPointKind.MLP_OUT
ALL = frozenset({PRE, MID, POST, ATTENTION, MLP})
PARALLEL = ALL - {MID}

_TINY = {"vocab_size": 512, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "num_hidden_layers": 3}
_WIDE = {**_TINY, "hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "max_position_embeddings": 256}
_GQA = {**_WIDE, "num_key_value_heads": 2}
_GPT = {**_TINY, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 256}
_HEADS = {"head_dim": 16, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
}

# Configurations of further families, and the kinds of hook points that each of their layers has.
MORE: Mapping[str, tuple[str, Mapping[str, Any], frozenset[HookPointKind]]] = {
    "falcon": ("falcon", {**_WIDE, "new_decoder_architecture": False}, PARALLEL),
    "falcon with two norms": ("falcon", {**_WIDE, "new_decoder_architecture": True, "num_kv_heads": 2}, PARALLEL),
    "falcon in sequence": ("falcon", {**_WIDE, "parallel_attn": False, "new_decoder_architecture": False}, ALL),
    "bloom": ("bloom", {**_TINY, "hidden_size": 64, "n_layer": 3, "n_head": 4}, ALL),
    "gpt_bigcode": ("gpt_bigcode", _GPT, ALL),
    "gptj": ("gptj", {**_GPT, "rotary_dim": 8}, PARALLEL),
    "gpt_neo": (
        "gpt_neo",
        {
            **_TINY,
            "hidden_size": 64,
            "num_layers": 3,
            "num_heads": 4,
            "attention_types": [[["global", "local", "global"], 1]],
        },
        ALL,
    ),
    "gpt_neox in sequence": ("gpt_neox", {**_WIDE, "use_parallel_residual": False}, ALL),
    "olmo2": ("olmo2", _GQA, ALL),
    "cohere": ("cohere", _GQA, PARALLEL),
    "stablelm": ("stablelm", _GQA, ALL),
    "stablelm in parallel": ("stablelm", {**_GQA, "use_parallel_residual": True}, PARALLEL),
    "granite": ("granite", {**_GQA, "residual_multiplier": 0.22}, frozenset({PRE, MID, POST})),
    "granite without multiplier": ("granite", {**_GQA, "residual_multiplier": 1.0}, ALL),
    "minicpm3": (
        "minicpm3",
        {
            **_WIDE,
            "num_key_value_heads": 4,
            "q_lora_rank": 32,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 16,
        },
        frozenset({PRE, MID, POST}),
    ),
    "gemma4": (
        "gemma4_text",
        {
            **_GQA,
            **_HEADS,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 512,
            "global_head_dim": 16,
            "num_kv_shared_layers": 0,
        },
        ALL - {MLP},
    ),
    "gpt_oss": ("gpt_oss", {**_GQA, **_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2}, ALL),
    "deepseek_v3": (
        "deepseek_v3",
        {
            **_WIDE,
            "num_key_value_heads": 4,
            "n_routed_experts": 8,
            "n_group": 2,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 32,
            "q_lora_rank": 32,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 8,
            "v_head_dim": 16,
        },
        ALL,
    ),
    "phi3 with long context": (
        "phi3",
        {
            **_GQA,
            "original_max_position_embeddings": 128,
            "rope_parameters": {
                "rope_type": "longrope",
                "rope_theta": 10000.0,
                "short_factor": [1.0] * 8,
                "long_factor": [2.0] * 8,
            },
        },
        ALL,
    ),
    "a language model that sees": (
        "gemma3",
        {"text_config": {**_GQA, **_HEADS}, "vision_config": _VISION, "mm_tokens_per_image": 4},
        ALL,
    ),
}

# State spaces instead of attention and MLP.
STATE_SPACE: Mapping[str, Any] = {**_TINY, "hidden_size": 64, "state_size": 8}

# Three layers of linear attention and one of attention, each with a mixture of experts.
HYBRID: Mapping[str, Any] = {
    **_GQA,
    "num_hidden_layers": 4,
    "head_dim": 16,
    "layer_types": ["linear_attention"] * 3 + ["full_attention"],
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

"""Model configurations, whatever words they use for the same things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers")
_HIDDEN_SIZE = ("hidden_size", "d_model", "n_embd", "n_embed", "dim", "embed_dim", "hidden_dim")
_HEADS = (
    "num_attention_heads",
    "n_head",
    "n_heads",
    "num_heads",
    "decoder_attention_heads",
    "encoder_attention_heads",
)
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", "kv_n_heads")
_CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "seq_length",
    "max_target_positions",
)
_HEAD_SIZE = ("head_dim", "d_kv", "kv_channels", "attention_head_dim", "d_head")
# Attention over a compressed context: a query's head has a part without and a part with its position.
_HEAD_PARTS = ("qk_nope_head_dim", "qk_rope_head_dim")
_EXPERT_SIZE = ("moe_intermediate_size", "expert_ffn_hidden_size", "expert_intermediate_size")
_INTERMEDIATE_SIZE = (
    "intermediate_size",
    "ffn_dim",
    "n_inner",
    "ffn_hidden_size",
    "d_ff",
    "d_inner",
    "decoder_ffn_dim",
    "encoder_ffn_dim",
)
# Models whose MLP is four times as wide as the residual stream unless their configuration says otherwise.
_FOUR_TIMES = ("gpt2", "gptj", "gpt_neo", "gpt_bigcode", "codegen", "bloom", "falcon", "mpt", "RefinedWebModel")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts", "n_experts")
_VOCABULARY = ("vocab_size", "padded_vocab_size", "n_vocab", "n_words")
# Multimodal models keep their language model's configuration in one of these; some of them nest twice.
_LANGUAGE_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")
# Some keep the settings of attention and MLP in parts of their own.
_LAYER_PARTS = ("attn_config", "ffn_config")
# Sizes are told in 32 bits, those that are worked out from others as well.
_MOST = 2**29


class LanguageConfig:
    """The language model's part of a `config.json`.

    Args:
        config: the whole configuration. A figure that the language part lacks is looked up around it.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._levels = _levels(config)

    @property
    def layers(self) -> int:
        """Transformer layers."""
        return self._figure(_LAYERS)

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream."""
        return self._figure(_HIDDEN_SIZE)

    @property
    def attention_heads(self) -> int:
        """Attention heads."""
        return self._figure(_HEADS)

    @property
    def key_value_heads(self) -> int:
        """Key and value heads: as said, one with multi-query attention, otherwise as many as attention heads."""
        said = self._figure(_KEY_VALUE_HEADS)
        multi_query = any(level.get("multi_query") is True for level in self._levels)
        return said or (1 if multi_query else self.attention_heads)

    @property
    def head_size(self) -> int:
        """Width of an attention head: as said, otherwise the heads' equal shares of the residual stream."""
        parts = [self._figure((name,)) for name in _HEAD_PARTS]
        if all(parts):
            return sum(parts)
        return self._figure(_HEAD_SIZE) or (self.hidden_size // self.attention_heads if self.attention_heads else 0)

    @property
    def intermediate_size(self) -> int:
        """Width inside the MLP; of one expert where there are experts of a width of their own."""
        said = (self._figure(_EXPERT_SIZE) if self.experts else 0) or self._figure(_INTERMEDIATE_SIZE)
        four_times = any(level.get("model_type") in _FOUR_TIMES for level in self._levels)
        return said or (4 * self.hidden_size if four_times else 0)

    @property
    def experts(self) -> int:
        """Experts of each mixture of experts; 0 where there are none."""
        return self._figure(_EXPERTS)

    @property
    def context_length(self) -> int:
        """Longest context, tokens."""
        return self._figure(_CONTEXT)

    @property
    def vocabulary_size(self) -> int:
        """Entries of the vocabulary."""
        return self._figure(_VOCABULARY)

    def _figure(self, names: Sequence[str]) -> int:
        said = (_figure(level.get(name)) for level in self._levels for name in names)
        return next(filter(None, said), 0)


def _levels(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The configuration's nested language parts, innermost first, with the layer settings of each."""
    levels = [config]
    for name in _LANGUAGE_PARTS:
        inner = config.get(name)
        if isinstance(inner, dict):
            levels = [*_levels(inner), config]
            break
    return levels + [part for name in _LAYER_PARTS if isinstance(part := config.get(name), dict)]


def _figure(value: Any) -> int:
    """`value` where it can be a size, otherwise 0; some models have a list with a figure per layer."""
    return value if type(value) is int and 0 < value <= _MOST else 0

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
_VOCABULARY = ("vocab_size", "padded_vocab_size", "n_vocab", "n_words")
# Multimodal models keep their language model's configuration in one of these; some of them nest twice.
_LANGUAGE_PARTS = ("text_config", "llm_config", "language_config", "thinker_config")


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
    """The configuration's nested language parts, innermost first, with the attention settings of each."""
    levels = [config]
    for name in _LANGUAGE_PARTS:
        inner = config.get(name)
        if isinstance(inner, dict):
            levels = [*_levels(inner), config]
            break
    attention = config.get("attn_config")
    return [*levels, attention] if isinstance(attention, dict) else levels


def _figure(value: Any) -> int:
    """`value` where it is a positive whole number, otherwise 0; some models have a list with a figure per layer."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

"""What a forward pass of one batch takes beside the weights, without gradients: an upper bound, never too low.

Counted are the tensors that the model code of transformers has at the same time, from reading it and from measuring,
rounded up where architectures differ. A pass keeps the keys and values of all layers, and else works on one layer, or
on the logits. What a reader of activations keeps comes on top of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mistudio_models.domain.weights import LoadSettings, WeightFormat
from mistudio_models.engine.dialects import LanguageConfig
from mistudio_models.engine.holding import Holding
from mistudio_models.engine.quantizing import load_dtype

_FLOAT_BYTES = 4

# Tensors of a kind that a layer has at once, in the compute dtype.
_HIDDEN = 5  # embeddings, residual, normed, result of the part, their sum
_HIDDEN_AS_FLOATS = 3  # norms compute in floats: converted, squared, scaled
_HEADS = 9  # queries; rotated, with the parts of the rotation; keys and values for every head; result, reordered
_INTERMEDIATE = 6  # gate, up, their product, and what an activation function of several steps needs
_EXPERT_HIDDEN = 5  # of every chosen expert: input, result, weighted, reordered, their sum
_ROUTER_FLOATS = 4  # logits, probabilities, chosen ones, their places
# Scores of an attention that is computed step by step: scores, masked or capped ones twice, and weights cast back.
_SCORES = 4
_MASK = 3  # as truth values, as numbers, and what an operator makes of it
_LOGITS = 1
_CAPPED_LOGITS = 3  # divided, through tanh, multiplied
_MOST_HEAD_SIZE = 256
_WITHOUT_SCORES = frozenset({"sdpa", "flash_attention_2", "flash_attention_3", "flash_attention_4"})

# Bytes a token and feature that an INT8 layer holds: halves, codes, and its search for outliers on the way in; 32-bit
# results, floats twice on the way out (`bitsandbytes.autograd._functions.MatMul8bitLt`).
_INT8_FEATURE_BYTES = 16
# Bytes a weight of the largest layer. INT8 on a CPU without AVX512 multiplies as floats, weights included. 4 bits are
# multiplied as weights in the compute dtype again (`backends.default.ops._gemm_4bit_default_impl`, on GPUs for large
# batches `backends.cuda.ops._dequant_linear_fallback`); the constants of double quantization are floats meanwhile, two
# times 4 bytes for a block of 64.
_INT8_WEIGHT_BYTES = 8
_UNDONE_CONSTANT_BYTES = 1
# What cuBLAS keeps for itself, from torch's allocator: 32 MiB on a Hopper GPU, less on others.
_GPU_WORKSPACE_BYTES = 32 * 1024 * 1024
# Tensors of a few bytes each: positions, ids, what masks are made of.
_SMALL_BYTES_PER_TOKEN = 256


@dataclass(frozen=True)
class Batch:
    """The batch of a forward pass: how many sequences, of how many tokens each."""

    sequences: int
    tokens: int

    @property
    def size(self) -> int:
        """Tokens of all sequences."""
        return self.sequences * self.tokens


@dataclass(frozen=True)
class Widths:
    """What the memory of a forward pass depends on; 0 for what a model does not have.

    Attributes:
        layers: transformer layers.
        hidden: width of the residual stream.
        heads: width of all attention heads together.
        key_value: width of all keys and values together.
        intermediate: width inside the widest MLP that is no expert.
        expert: width inside an expert.
        vocabulary: entries of the vocabulary.
        attention_heads: how many there are.
        experts: of each mixture of experts.
        chosen_experts: that work on a token.
        scores: whether attention computes its scores step by step.
        capped_logits: whether logits are capped.
        keeps_key_values: whether a pass keeps keys and values.
    """

    layers: int
    hidden: int
    heads: int
    key_value: int
    intermediate: int
    expert: int
    vocabulary: int
    attention_heads: int
    experts: int
    chosen_experts: int
    scores: bool
    capped_logits: bool
    keeps_key_values: bool

    @classmethod
    def of(cls, config: Mapping[str, Any], attention: str, *, keeps_key_values: bool) -> Widths:
        """The widths that a configuration gives, be it `config.json` or all of it with the defaults filled in.

        Args:
            config: of the model.
            attention: transformers' name of how attention is computed, for example `sdpa`; empty where the model's
                code is not known: then everything counts at its most.
            keeps_key_values: whether a pass keeps keys and values.
        """
        language, figures = LanguageConfig(config), _Figures(config)
        value_size = figures.get("v_head_dim") or language.head_size
        # torch's quick kernels want keys and values of one size, and no large one; else it computes scores as well.
        quick = attention in _WITHOUT_SCORES and value_size == language.head_size <= _MOST_HEAD_SIZE
        expanded = language.key_value_heads * (language.head_size + value_size)
        return cls(
            layers=language.layers,
            hidden=language.hidden_size,
            heads=language.attention_heads * language.head_size,
            key_value=(figures.compressed_key_value if attention else 0) or expanded,
            intermediate=figures.get("intermediate_size") or language.intermediate_size or 4 * language.hidden_size,
            expert=language.intermediate_size,
            vocabulary=language.vocabulary_size,
            attention_heads=language.attention_heads,
            experts=language.experts,
            chosen_experts=figures.get("num_experts_per_tok", "top_k", "moe_top_k") or language.experts,
            scores=not quick,
            capped_logits=figures.says("final_logit_softcapping"),
            keeps_key_values=keeps_key_values,
        )


class _Figures:
    """Figures of a configuration, or of its language part, that all models call by the same names."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        nested = config.get("text_config")
        self._config: Mapping[str, Any] = nested if isinstance(nested, Mapping) else config

    def get(self, *names: str) -> int:
        """The first of these that is a positive whole number, otherwise 0."""
        said = (self._config.get(name) for name in names)
        return next((value for value in said if type(value) is int and value > 0), 0)

    def says(self, name: str) -> bool:
        """Whether it says so at all."""
        return bool(self._config.get(name))

    @property
    def compressed_key_value(self) -> int:
        """Width of a token's keys and values where attention keeps them compressed for all heads together; else 0.

        transformers keeps the latent and its rotated part, and what a sparse attention looks tokens up by.
        """
        latent = self.get("kv_lora_rank")
        return latent + self.get("qk_rope_head_dim") + self.get("index_head_dim") if latent else 0


def key_value_bytes(widths: Widths, batch: Batch, itemsize: int) -> int:
    """Bytes of the keys and values that one pass keeps.

    Layers with a sliding window count in full: transformers keeps the window as a view of all keys of the pass
    (`cache_utils.DynamicSlidingWindowLayer`).

    Args:
        widths: of the model.
        batch: of the pass.
        itemsize: bytes of a value in the compute dtype.
    """
    return widths.layers * batch.size * widths.key_value * itemsize if widths.keeps_key_values else 0


def activation_bytes(widths: Widths, batch: Batch, held: Holding, settings: LoadSettings, device_type: str) -> int:
    """Bytes of activations and logits at their highest, with what quantized layers need to compute.

    Args:
        widths: of the model.
        batch: of the pass.
        held: the model's weights as they are held.
        settings: with every default filled in.
        device_type: that it runs on, `cpu` or `cuda`.
    """
    itemsize = load_dtype(settings).itemsize
    hidden = widths.hidden * (_HIDDEN * itemsize + _HIDDEN_AS_FLOATS * _FLOAT_BYTES) * batch.size
    working = max(_attention(widths, batch, itemsize), _mlp(widths, batch, itemsize), _logits(widths, batch, itemsize))
    mask = _MASK * batch.size * batch.tokens * itemsize
    small = batch.size * _SMALL_BYTES_PER_TOKEN
    workspace = _GPU_WORKSPACE_BYTES if device_type == "cuda" else 0
    return hidden + working + mask + small + workspace + _dequantizing(widths, batch, held, settings, device_type)


def _attention(widths: Widths, batch: Batch, itemsize: int) -> int:
    scores = widths.attention_heads * batch.tokens * (_SCORES * itemsize + _FLOAT_BYTES) if widths.scores else 0
    return batch.size * (_HEADS * widths.heads * itemsize + scores)


def _mlp(widths: Widths, batch: Batch, itemsize: int) -> int:
    dense = _INTERMEDIATE * widths.intermediate * itemsize
    # Experts that work on every token are one more at most, as wide as those that are chosen.
    chosen = widths.chosen_experts + 1 if widths.experts else 0
    experts = chosen * (_INTERMEDIATE * widths.expert + _EXPERT_HIDDEN * widths.hidden) * itemsize
    return batch.size * max(dense, experts + widths.experts * _ROUTER_FLOATS * _FLOAT_BYTES)


def _logits(widths: Widths, batch: Batch, itemsize: int) -> int:
    return batch.size * widths.vocabulary * itemsize * (_CAPPED_LOGITS if widths.capped_logits else _LOGITS)


def _dequantizing(widths: Widths, batch: Batch, held: Holding, settings: LoadSettings, device_type: str) -> int:
    """Bytes that the largest quantized layer needs while it computes."""
    largest = max((quantized.values for quantized in held.quantized), default=0)
    if not largest:
        return 0
    features = batch.size * (widths.intermediate + max(widths.hidden, widths.heads))
    if settings.format is WeightFormat.INT8:
        weights = largest * _INT8_WEIGHT_BYTES if device_type == "cpu" else 0
        return weights + features * _INT8_FEATURE_BYTES
    # Files that are quantized already may name any dtype to compute in.
    itemsize = load_dtype(settings).itemsize if settings.format.is_quantized else _FLOAT_BYTES
    return largest * (itemsize + _UNDONE_CONSTANT_BYTES) + features * itemsize

"""The memory that a model's weights take: the sum of every parameter and buffer as it will be held."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers.core_model_loading import build_glob_alternation
from transformers.pytorch_utils import Conv1D

from mistudio_models.domain.weights import LoadSettings, UnquantizedModules, WeightFormat
from mistudio_models.engine.outline import Outline
from mistudio_models.engine.quantizing import (
    BLOCK,
    load_dtype,
    numberless,
    quantized_modules,
    shape,
    skipped_modules,
)

_FLOAT_BYTES = 4
_CODE_ENTRIES = 16
"""Entries of a 4-bit format's table, which bitsandbytes keeps once a weight (`functional.get_4bit_type`)."""
_NESTED_BLOCK = 256
"""Constants that share a constant under double quantization (`functional.quantize_4bit`)."""
_NESTED_ENTRIES = 256
"""Entries of the table of double quantization, kept once a weight as well (`functional.quantize_blockwise`)."""


@dataclass(frozen=True)
class HeldTensor:
    """A parameter or buffer as it will be held.

    Attributes:
        name: of it.
        values: how many it has.
        itemsize: bytes of a value before it is quantized, or if it is not.
        bytes: that it takes, with the constants of its quantization.
        quantized: whether it is.
        transposed: whether it is turned before it is quantized, as weights of `Conv1D` are.
        fused: whether it is put together from many stored ones, as experts are.
        stored_name: of it in the weight files, where names may begin differently; empty where they have no such tensor.
    """

    name: str
    values: int
    itemsize: int
    bytes: int
    quantized: bool = False
    transposed: bool = False
    fused: bool = False
    stored_name: str = ""


@dataclass(frozen=True)
class Holding:
    """A model's weights as they will be held.

    Attributes:
        tensors: every parameter and buffer; those that modules share but once.
        unquantized: modules that a quantization leaves as they are.
        stored_twice_bytes: of tied weights that the files have once for each module: one goes when all is loaded.
    """

    tensors: tuple[HeldTensor, ...]
    unquantized: tuple[UnquantizedModules, ...] = ()
    stored_twice_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Bytes of them all."""
        return sum(held.bytes for held in self.tensors)

    @property
    def quantized(self) -> tuple[HeldTensor, ...]:
        """Those that are quantized."""
        return tuple(held for held in self.tensors if held.quantized)


def holding(model: torch.nn.Module, outline: Outline, settings: LoadSettings, device_type: str) -> Holding:
    """How the weights of a model will be held.

    Args:
        model: its skeleton, built for `load_dtype(settings)`.
        outline: of the model.
        settings: with every default filled in.
        device_type: that it is loaded on, `cpu` or `cuda`.
    """
    tensors = tuple(
        replace(tensor, stored_name=_stored_name(model, tensor.name, outline))
        for tensor in _held(model, settings, device_type)
    )
    unquantized = tuple(_unquantized(model, settings, device_type, tensors))
    return Holding(tensors, unquantized, _stored_twice_bytes(model, outline, load_dtype(settings).itemsize))


def quantized_bytes(rows: int, columns: int, settings: LoadSettings) -> int:
    """Bytes of a quantized weight with all that bitsandbytes 0.50 keeps to undo the quantization.

    INT8: a byte a weight and a float a row (`Int8Params.SCB`). 4 bits: half a byte a weight, a table of 16 floats, and
    a float a block of 64; or under double quantization a byte a block, with a table of 256 floats, a float for every
    256 blocks, and one for the mean of them all.
    """
    weights = rows * columns
    if settings.format is WeightFormat.INT8:
        return weights + rows * _FLOAT_BYTES
    blocks = math.ceil(weights / BLOCK)
    plain = math.ceil(weights / 2) + _CODE_ENTRIES * _FLOAT_BYTES
    if not settings.double_quantization:
        return plain + blocks * _FLOAT_BYTES
    return plain + blocks + (_NESTED_ENTRIES + math.ceil(blocks / _NESTED_BLOCK) + 1) * _FLOAT_BYTES


def _held(model: Any, settings: LoadSettings, device_type: str) -> Iterator[HeldTensor]:
    quantized = {f"{path}.weight": module for path, module in quantized_modules(model, settings, device_type).items()}
    kept = model._get_dtype_plan(load_dtype(settings))
    # Tied weights come once from both iterators: they are one parameter of several modules.
    for name, tensor in model.named_parameters():
        itemsize, values = (_kept_dtype(name, kept) or tensor.dtype).itemsize, tensor.numel()
        if name in quantized:
            held = quantized_bytes(*shape(quantized[name]), settings)
            transposed = isinstance(quantized[name], Conv1D)
            yield HeldTensor(name, values, itemsize, held, quantized=True, transposed=transposed)
        else:
            yield HeldTensor(name, values, itemsize, values * itemsize, fused=tensor.dim() > 2)
    stored = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        kept_dtype = _kept_dtype(name, kept) if name in stored else None
        itemsize = (kept_dtype or buffer.dtype).itemsize
        yield HeldTensor(name, buffer.numel(), itemsize, buffer.numel() * itemsize)


def _stored_name(model: Any, name: str, outline: Outline) -> str:
    """The name in the weight files, where the path of the model inside of the one with a head may lack; or empty."""
    inner = f"{model.base_model_prefix}."
    known = (candidate for candidate in (name, name.removeprefix(inner), inner + name) if candidate in outline.tensors)
    return next(known, "")


def _stored_twice_bytes(model: Any, outline: Outline, itemsize: int) -> int:
    """Bytes of weights that modules share, but the files have for each of them."""
    twice = 0
    for target, source in model.all_tied_weights_keys.items():
        names = {_stored_name(model, target, outline), _stored_name(model, source, outline)}
        if len(names) > 1 and all(names):
            twice += model.get_parameter(source).numel() * itemsize
    return twice


def _kept_dtype(name: str, kept: Mapping[str, torch.dtype]) -> torch.dtype | None:
    """The dtype that the architecture insists on, matched as transformers matches it while loading."""
    if not kept:
        return None
    pattern, names, _ = build_glob_alternation(list(kept))
    found = pattern.search(name)
    return kept[names[str(found.lastgroup)]] if found else None


def _unquantized(
    model: torch.nn.Module, settings: LoadSettings, device_type: str, tensors: tuple[HeldTensor, ...]
) -> Iterator[UnquantizedModules]:
    own: dict[str, list[HeldTensor]] = defaultdict(list)
    for held in tensors:
        own[held.name.rpartition(".")[0]].append(held)
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for skipped in skipped_modules(model, settings, device_type):
        groups[numberless(skipped.path), skipped.reason].append(skipped.path)
    for (path, reason), members in groups.items():
        # What a module shares with another one counts there.
        held_by_all = [held for member in members for held in own[member]]
        parameters = sum(held.values for held in held_by_all)
        yield UnquantizedModules(path, len(members), parameters, sum(held.bytes for held in held_by_all), reason)

"""The memory that a model needs, loaded and running, under every setting that is asked for; no weights are read.

Where the installed transformers knows the model, its own modules say what will be held (basis `modules`); otherwise
the headers of its weight files do, by names, shapes and dtypes (basis `headers`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.integrations.heterogeneity import AmbiguousGlobalPerLayerAttributeError

from mistudio_models.domain.weights import BY_HEADERS, BY_MODULES, LoadSettings, Need, WeightFormat
from mistudio_models.engine.header_memory import header_holding, stored_holding
from mistudio_models.engine.holding import Holding, holding
from mistudio_models.engine.load_peak import load_peak_bytes
from mistudio_models.engine.outline import Outline
from mistudio_models.engine.quantizing import load_dtype
from mistudio_models.engine.run_memory import Batch, Widths, activation_bytes, key_value_bytes
from mistudio_models.engine.skeleton import auto_class, skeleton
from mistudio_servicekit.errors import ArchitectureUnsupported, WeightsMissing

_USUAL = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)


def needs(
    outline: Outline, wanted: Sequence[LoadSettings], *, batch_size: int, sequence_length: int, device_type: str
) -> Sequence[Need]:
    """The memory that the model needs under each of the settings.

    A model whose files are quantized already is held as its files have it, whatever format is wanted: its one need is
    returned, with settings that name no format, and the compute dtype of the first that are wanted.

    Args:
        outline: of the model.
        wanted: settings; what they leave out is filled in.
        batch_size: sequences of a forward pass.
        sequence_length: tokens of each.
        device_type: `cpu` or `cuda`.

    Raises:
        MalformedFile: the configuration cannot be that of a model.
        WeightsMissing: no installed code knows the model, and it has no safetensors to be read instead.
    """
    estimate = _Estimate(outline, Batch(batch_size, sequence_length), device_type)
    settled = [settings.settled(outline.parameters_by_dtype) for settings in wanted]
    if outline.quantization:
        return [estimate.need_as_stored(settings) for settings in settled[:1]]
    return [estimate.need(settings) for settings in settled]


class _Estimate:
    def __init__(self, outline: Outline, batch: Batch, device_type: str) -> None:
        self._outline = outline
        self._batch = batch
        self._device_type = device_type
        self._models: dict[torch.dtype, Any] = {}
        self._known = self._is_known()
        if not self._known and not outline.tensors:
            raise WeightsMissing(
                "No installed code knows the model's architecture, and it has no safetensors whose headers could tell "
                f"its size (model type {outline.model_type!r})",
                next_step="Choose a repository with safetensors, or one whose model type transformers knows",
            )

    def need(self, settings: LoadSettings) -> Need:
        """The need under settings with every default filled in."""
        if self._known:
            return self._need(settings, holding(self._model(settings), self._outline, settings, self._device_type))
        return self._need(settings, header_holding(self._outline, settings, self._device_type))

    def need_as_stored(self, settings: LoadSettings) -> Need:
        """The need of a model whose files are quantized; of the settings the compute dtype counts alone."""
        plain = LoadSettings(WeightFormat(settings.compute_dtype.value), compute_dtype=settings.compute_dtype)
        need = self._need(plain, stored_holding(self._outline, plain, self._device_type))
        return replace(need, settings=replace(plain, format=WeightFormat.UNSPECIFIED))

    def _need(self, settings: LoadSettings, held: Holding) -> Need:
        widths = self._widths(settings)
        return Need(
            settings=settings,
            weights_bytes=held.bytes,
            load_peak_bytes=load_peak_bytes(self._outline, held, settings, self._device_type),
            key_value_bytes=key_value_bytes(widths, self._batch, load_dtype(settings).itemsize),
            activation_bytes=activation_bytes(widths, self._batch, held, settings, self._device_type),
            quantized_parameters=sum(tensor.values for tensor in held.quantized),
            unquantized=held.unquantized,
            basis=BY_MODULES if self._known else BY_HEADERS,
        )

    def _widths(self, settings: LoadSettings) -> Widths:
        if not self._known:
            return Widths.of(self._outline.config, attention="", keeps_key_values=True)
        text = _text_config(self._model(settings).config)
        # A masked language model sees all tokens at once, and keeps nothing for the next ones.
        masked = auto_class(self._outline).__name__ == "AutoModelForMaskedLM"
        return Widths.of(_in_usual_words(text), text._attn_implementation, keeps_key_values=not masked)

    def _model(self, settings: LoadSettings) -> Any:
        """The skeleton in the dtype of the settings."""
        return self._skeleton(load_dtype(settings))

    def _skeleton(self, dtype: torch.dtype) -> Any:
        """Built once for each dtype."""
        if dtype not in self._models:
            self._models[dtype] = skeleton(self._outline, dtype)
        return self._models[dtype]

    def _is_known(self) -> bool:
        try:
            self._skeleton(torch.bfloat16)
        except ArchitectureUnsupported:
            return False
        return True


def _text_config(config: Any) -> Any:
    """The language part of a configuration: itself, where what it says of one is none."""
    text = config.get_text_config()
    return text if isinstance(text, PreTrainedConfig) else config


def _in_usual_words(text: Any) -> Mapping[str, Any]:
    """The configuration with the figures that matter by the names that most models use, which all classes know."""
    figures = ((name, _most(text, name)) for name in _USUAL)
    return {**text.to_dict(), **{name: figure for name, figure in figures if figure}}


def _most(text: Any, name: str) -> Any:
    """A figure of the configuration, the largest where layers have their own; None where it has none."""
    try:
        return getattr(text, name, None)
    except AmbiguousGlobalPerLayerAttributeError:
        return max(getattr(layer, name) or 0 for layer in text.per_layer_config)

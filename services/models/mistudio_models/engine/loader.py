"""Brings a model from its folder into the memory of a device: what is asked for, whole, proved, or not at all."""

from __future__ import annotations

import copy
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn.modules import Linear4bit
from transformers.utils.logging import disable_progress_bar

from mistudio_models.domain.loading import Measurement
from mistudio_models.domain.policy import Policy
from mistudio_models.domain.weights import LoadSettings, Need
from mistudio_models.engine import proof
from mistudio_models.engine.allocator import freed_memory_returned
from mistudio_models.engine.checkpoint import open_checkpoint
from mistudio_models.engine.completeness import check_complete
from mistudio_models.engine.faults import FAULTS, TransformersReport, typed_fault
from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.loading_switches import set_switches
from mistudio_models.engine.loads import Loaded, Observer
from mistudio_models.engine.measuring import PeakMemory, weights_bytes
from mistudio_models.engine.memory import needs
from mistudio_models.engine.outline import Outline, read_outline
from mistudio_models.engine.own_code import own_skeleton
from mistudio_models.engine.prequantized import quantization_settings
from mistudio_models.engine.quantizing import load_dtype, quantization_config
from mistudio_models.engine.skeleton import skeleton

set_switches()
# Memory is collected around every load: without what the libraries have made for good, that takes an instant.
gc.freeze()
disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers has no types


class ModelLoader:
    """Loads the model in one folder in one way, on devices of one kind.

    Args:
        folder: with its files.
        settings: how it is held, with every default filled in; weights that are quantized in their files already stay
            as they are there.
        device_type: `cpu` or `cuda`.
        allowed: what the request and the operator both allow.
    """

    def __init__(self, folder: Path, settings: LoadSettings, device_type: str, allowed: Policy) -> None:
        self._source = FolderSource(folder)
        self._settings = settings
        self._device_type = device_type
        self._allowed = allowed

    @cached_property
    def outline(self) -> Outline:
        """The model without its weights.

        Raises:
            MalformedFile: its configuration or weight headers do not parse.
        """
        return read_outline(self._source)

    def need(self) -> Need:
        """The memory that loading the model and proving it takes.

        Raises:
            MalformedFile, ArchitectureUnsupported: it cannot be known, nor loaded.
        """
        return self.need_in(self._settings)

    def need_in(self, settings: LoadSettings) -> Need:
        """As `need`, if it were loaded with these settings."""
        (need,) = needs(
            self.outline, [settings], batch_size=1, sequence_length=proof.TOKENS, device_type=self._device_type
        )
        return need

    def load(self, device: str, observer: Observer) -> Loaded:
        """Load the model and prove it. Where that fails, nothing of it stays that is referred to.

        Args:
            device: for example `cuda:0`.
            observer: follows it, and may stop it.

        Raises:
            OutOfMemory: the device has too little memory.
            MalformedFile: a file is damaged, or lacks weights.
            WeightsMissing, PickleRefused, RemoteCodeRefused: there are no weights, or none that may be loaded.
            ArchitectureUnsupported, UnsupportedFormat: installed code cannot load it.
            InvalidArgument: it does not work with these settings.
            Exception: what `observer` raises.
        """
        started = time.monotonic()
        need = self.need()
        with _typed_faults(str(self._settings), device):
            with freed_memory_returned(), PeakMemory(torch.device(device)) as peak:
                model = self._from_files(device, observer)
            memory = Measurement(need.weights_bytes, weights_bytes(model), need.load_peak_bytes, peak.bytes)
            observer.proving()
            forward_seconds = proof.prove(model, self._settings)
        return Loaded(model, need, memory, time.monotonic() - started, forward_seconds, self.outline.quantization)

    def _from_files(self, device: str, observer: Observer) -> Any:
        blueprint = self._blueprint()
        weights = open_checkpoint(self._source, observer.reading, allow_pickle=self._allowed.allow_pickle)
        model, info = type(blueprint).from_pretrained(
            None,
            config=self._config(blueprint),
            state_dict=weights,
            dtype=load_dtype(self._settings),
            device_map={"": device},
            quantization_config=self._quantization(blueprint),
            local_files_only=True,
            ignore_mismatched_sizes=True,  # they are told in `info`, with their names
            output_loading_info=True,
        )
        check_complete(model, info)
        _compute_as_asked(model)
        return model.requires_grad_(False).eval()

    def _blueprint(self) -> Any:
        dtype = load_dtype(self._settings)
        own = own_skeleton(self._source, self.outline, dtype, allowed=self._allowed.allow_remote_code)
        return skeleton(self.outline, dtype) if own is None else own

    def _config(self, blueprint: Any) -> Any:
        config = copy.deepcopy(blueprint.config)
        if self.outline.quantization:
            config.quantization_config = dict(quantization_settings(self.outline.config))
        return config

    def _quantization(self, blueprint: Any) -> Any:
        if self.outline.quantization:
            return None
        return quantization_config(blueprint, self._settings, self._device_type)


def _compute_as_asked(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from repacking 4-bit weights for CPUs with AVX512-BF16.

    Repacked weights compute in BF16 whatever was asked for, cannot be part of a backward pass, take another size than
    on other CPUs, and are no faster with batches of hundreds of tokens.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


@contextmanager
def _typed_faults(settings: str, device: str) -> Iterator[None]:
    with TransformersReport() as said:
        try:
            yield
        except FAULTS as fault:
            raise typed_fault(fault, said.text, f"held in {settings} on {device}") from fault

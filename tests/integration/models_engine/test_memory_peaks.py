"""Peaks of models that are large enough for their weights to matter, some ten megabytes, as they are loaded and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mistudio_models.domain.weights import LoadSettings
from mistudio_models.engine.memory import needs
from tests.model_families import make_model

from .allocations import traced
from .loading import BF16, FP16, INT8, NF4, load, loader
from .test_memory_families import run

SIZES: Mapping[str, Mapping[str, Any]] = {
    "llama": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 5, "vocab_size": 8000},
    "gpt2": {"n_embd": 512, "n_inner": 2048, "n_layer": 6, "vocab_size": 8000},
    "mixtral": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6, "vocab_size": 8000},
}
FP4 = LoadSettings.from_json({"format": "FP4", "compute_dtype": "BF16"})
DOUBLE = replace(NF4, double_quantization=True)
STORED = {"llama": torch.bfloat16, "gpt2": torch.float32, "mixtral": torch.bfloat16}


@pytest.fixture(scope="module", params=list(SIZES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("large") / request.param
    return make_model(request.param, place, dtype=STORED[request.param], **SIZES[request.param])


@pytest.mark.parametrize("settings", [BF16, FP16, INT8, FP4, DOUBLE], ids=str)
def test_peaks_of_loading_and_running_are_predicted(folder: Path, settings: LoadSettings) -> None:
    outline = loader(folder, settings).outline
    (need,) = needs(outline, [settings], batch_size=2, sequence_length=96, device_type="cpu")
    loading = traced(lambda: load(folder, settings))
    assert loading.peak_bytes == pytest.approx(need.load_peak_bytes, rel=0.1)
    assert loading.left_bytes == pytest.approx(need.weights_bytes, rel=0.02)
    running = traced(lambda: run(loading.result.model))
    assert running.peak_bytes <= need.key_value_bytes + need.activation_bytes <= 4 * running.peak_bytes

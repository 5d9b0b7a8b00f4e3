"""Memory that loads give back, measured in a process of their own, as in production."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from tests.model_families import make_model

from .loading import ONE_THREAD


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What is left in memory, as a share of the model: of some 35 MB in BF16, most of it read fast."""
    sizes: Any = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "vocab_size": 32_000}
    folder = make_model("llama", tmp_path_factory.mktemp("large"), dtype=torch.bfloat16, **sizes)
    command = [sys.executable, "-m", "tests.integration.models_engine.leftovers", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=ONE_THREAD)
    return {probe: left / model for probe, (left, model) in json.loads(done.stdout).items()}


def test_a_load_that_fails_gives_its_memory_back(left: dict[str, float]) -> None:
    assert left["failed load"] < 0.2


def test_many_loads_and_unloads_leave_nothing_behind(left: dict[str, float]) -> None:
    assert left["many loads"] < 0.1, "a hundredth of a model a load would be five times that"

"""Predictions for every family in every format, held against what torch really allocates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from mistudio_models.domain.weights import LoadSettings, Need, WeightFormat
from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.loads import Loaded
from mistudio_models.engine.measuring import weights_bytes
from mistudio_models.engine.memory import needs
from mistudio_models.engine.outline import read_outline
from tests.model_families import FAMILIES, VOCABULARY, make_model

from .allocations import Traced, traced
from .loading import MANY, load

SEQUENCES, TOKENS = 2, 96


# Traced are those that need most on their way, and those that compute in different ways: tracing takes its time.
TRACED_LOADS = (WeightFormat.INT8, WeightFormat.FP4)
TRACED_RUNS = (WeightFormat.FP32, WeightFormat.BF16, WeightFormat.INT8, WeightFormat.NF4)


@dataclass(frozen=True)
class Held:
    """A model in one format: as it was predicted, and as it is.

    Attributes:
        need: what was predicted.
        weights_bytes: of its weights as measured.
        key_value_bytes: of the keys and values that it kept of a batch.
        loading: what loading it did to memory, where that was traced.
        running_bytes: that running the batch took at the highest, where that was traced.
    """

    need: Need
    weights_bytes: int
    key_value_bytes: int
    loading: Traced[Loaded] | None
    running_bytes: int

    @property
    def shown(self) -> str:
        return str(self.need.settings)


@pytest.fixture(scope="module", params=list(FAMILIES))
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Held]:
    """A model of the family, loaded and run in every format."""
    folder = make_model(request.param, tmp_path_factory.mktemp("models") / request.param, num_hidden_layers=2)
    return [hold(folder, settings) for settings in MANY]


def hold(folder: Path, settings: LoadSettings) -> Held:
    """Predict, load and run the model in `folder`."""
    outline = read_outline(FolderSource(folder))
    (need,) = needs(outline, [settings], batch_size=SEQUENCES, sequence_length=TOKENS, device_type="cpu")
    loading = traced(lambda: load(folder, settings)) if settings.format in TRACED_LOADS else None
    loaded = loading.result if loading else load(folder, settings)
    running = traced(lambda: run(loaded.model)) if settings.format in TRACED_RUNS else None
    kept = running.result if running else run(loaded.model)
    return Held(need, weights_bytes(loaded.model), kept, loading, running.peak_bytes if running else 0)


def run(model: torch.nn.Module) -> int:
    """Run one batch; returns the bytes of the keys and values that it kept."""
    with torch.no_grad():
        output = model(torch.arange(SEQUENCES * TOKENS).remainder(VOCABULARY).view(SEQUENCES, TOKENS))
    layers = output.past_key_values.layers if output.get("past_key_values") else []
    return sum(kept.untyped_storage().nbytes() for layer in layers for kept in (layer.keys, layer.values))


def test_weights_are_predicted_as_they_are_held(held: list[Held]) -> None:
    assert {each.shown: each.need.weights_bytes for each in held} == {each.shown: each.weights_bytes for each in held}


def test_nothing_but_the_weights_stays_allocated(held: list[Held]) -> None:
    for each in held:
        if each.loading:
            # bitsandbytes makes some small tables once a process.
            assert each.loading.left_bytes == pytest.approx(each.need.weights_bytes, abs=4096), each.shown


def test_a_load_never_takes_much_more_than_predicted(held: list[Held]) -> None:
    for each in held:
        if each.loading:
            assert each.loading.peak_bytes < 1.1 * each.need.load_peak_bytes, each.shown


def test_keys_and_values_are_predicted_as_they_are_kept(held: list[Held]) -> None:
    kept = {each.shown: each.key_value_bytes for each in held}
    assert {each.shown: each.need.key_value_bytes for each in held} == kept


def test_a_batch_never_takes_more_than_predicted(held: list[Held]) -> None:
    for each in held:
        predicted = each.need.run_peak_bytes - each.need.weights_bytes
        assert each.running_bytes <= predicted, each.shown
        assert not each.running_bytes or predicted < 5 * each.running_bytes, each.shown

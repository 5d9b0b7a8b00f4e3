"""What the tests of loading share: ways to hold a model, and an observer that remembers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mistudio_models.domain.policy import Policy
from mistudio_models.domain.weights import EVERY_FORMAT, ComputeDtype, LoadSettings, WeightFormat
from mistudio_models.engine.loader import ModelLoader
from mistudio_models.engine.loads import Loaded

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""For processes whose memory is measured: each of a large machine's threads would have its own beside."""

MANY: Sequence[LoadSettings] = [settings.settled({"F32": 1}) for settings in EVERY_FORMAT]
FP32 = LoadSettings(WeightFormat.FP32, compute_dtype=ComputeDtype.FP32)
FP16 = LoadSettings(WeightFormat.FP16, compute_dtype=ComputeDtype.FP16)
BF16 = LoadSettings(WeightFormat.BF16, compute_dtype=ComputeDtype.BF16)
INT8 = LoadSettings(WeightFormat.INT8, compute_dtype=ComputeDtype.BF16)
NF4 = LoadSettings(WeightFormat.NF4, compute_dtype=ComputeDtype.BF16)


@dataclass
class Seen:
    """An observer that remembers what it was told; `on_reading` is called with each progress."""

    on_reading: Callable[[int, int], None] = lambda done, total: None
    progress: list[tuple[int, int]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    waited: int = 0

    def waiting(self) -> None:
        self.waited += 1

    def reading(self, done: int, total: int) -> None:
        self.progress.append((done, total))
        self.on_reading(done, total)

    def proving(self) -> None:
        self.stages.append("proving")


def load(
    folder: Path, settings: LoadSettings, *, allowed: Policy | None = None, observer: Seen | None = None
) -> Loaded:
    """The model in `folder` on the CPU."""
    return loader(folder, settings, allowed).load("cpu", observer or Seen())


def loader(folder: Path, settings: LoadSettings, allowed: Policy | None = None) -> ModelLoader:
    """What loads the model in `folder` on the CPU."""
    return ModelLoader(folder, settings, "cpu", allowed or Policy())

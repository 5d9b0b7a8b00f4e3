"""Loads models as a worker does, without the worker. Only for a process of its own: it sets a load's switches."""

from __future__ import annotations

from pathlib import Path

import torch

from mistudio_models.domain.policy import Policy
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.engine.loader import ModelLoader
from mistudio_models.engine.loads import Loaded


def load(folder: Path, settings: LoadSettings, device: str = "cpu") -> Loaded:
    """The model in `folder` on the device, proved; see `ModelLoader.load`."""
    return ModelLoader(folder, settings, torch.device(device).type, Policy()).load(device, _Unwatched())


class _Unwatched:
    """Follows a load and says nothing; see `Observer`."""

    def waiting(self) -> None: ...

    def reading(self, done: int, total: int) -> None: ...

    def proving(self) -> None: ...

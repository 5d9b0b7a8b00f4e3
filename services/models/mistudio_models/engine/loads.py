"""What a load of a model gives, and who follows it. Knows no torch, so that a worker can start without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from mistudio_models.domain.loading import Measurement
from mistudio_models.domain.weights import Need


class Observer(Protocol):
    """Follows a load. What it raises stops the load."""

    def waiting(self) -> None:
        """Another load goes first; told many times a second."""

    def reading(self, done: int, total: int) -> None:
        """`done` of `total` bytes of weights have been read; told every few megabytes."""

    def proving(self) -> None:
        """The model is in memory, and is being proved."""


@dataclass(frozen=True)
class Loaded:
    """A model in memory.

    Attributes:
        model: a `transformers.PreTrainedModel` in evaluation mode, whose weights want no gradients.
        need: what was predicted.
        memory: what loading took, beside what was predicted.
        load_seconds: that it took, the proof included.
        forward_seconds: that the proof by a forward pass took.
        quantization: how the weights are quantized in the model's files already; empty where they are not.
    """

    model: Any
    need: Need
    memory: Measurement
    load_seconds: float
    forward_seconds: float
    quantization: str = ""

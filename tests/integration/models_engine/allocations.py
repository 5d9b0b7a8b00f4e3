"""Exact memory on a CPU: every allocation and release of torch, as its own profiler records them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch.profiler import ProfilerActivity, profile

Result = TypeVar("Result")


@dataclass(frozen=True)
class Traced(Generic[Result]):
    """What a call did to memory, in bytes of tensors: the highest while it ran, and what it left behind."""

    result: Result
    peak_bytes: int
    left_bytes: int


def traced(call: Callable[[], Result]) -> Traced[Result]:
    """The result of `call`, and what it did to memory."""
    gc.collect()  # else the garbage of others could go meanwhile
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = call()
    recorded = profiled.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in recorded if event.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return Traced(result, peak, held)

"""How long work tells what it has done and learns that it should stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Protocol, TypeVar

_SECONDS_PER_CHECK = 0.1


class Report(Protocol):
    """Takes the state of a stage: `done` of `total` in `unit`, and figures that go with it."""

    def __call__(
        self, done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None
    ) -> None:
        """Publish this state; callers report often, the receiver thins out."""


Check = Callable[[], None]
"""Raises `JobCancelled` when the work should stop; cheap enough for every batch."""


_Result = TypeVar("_Result")


def result_of(work: Future[_Result], check: Check) -> _Result:
    """What work in another thread comes to; what `check` raises meanwhile comes at once."""
    while not wait([work], timeout=_SECONDS_PER_CHECK).done:
        check()
    return work.result()


@dataclass(frozen=True)
class Monitor:
    """The two wires of a long piece of work to whoever runs it."""

    report: Report
    check: Check


def _ignore(done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
    return


def _go_on() -> None:
    return


UNWATCHED = Monitor(report=_ignore, check=_go_on)
"""For work that nobody watches or stops."""

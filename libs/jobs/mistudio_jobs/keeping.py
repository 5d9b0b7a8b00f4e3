"""What a worker's child keeps from job to job, for example loaded models: how others learn of it, and act on it."""

from __future__ import annotations

import importlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from mistudio_jobs.failures import to_failure

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Keeps things in a worker's child. Its handlers reach it as `JobContext.keeper`, in threads of their own."""

    @property
    def keeps(self) -> bool:
        """Whether it holds what would be lost with its process: that is then not renewed between jobs."""

    def state(self) -> Mapping[str, Any]:
        """What it has and holds, JSON-ready. Quick: asked every few seconds, and after each job and command."""

    def command(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what another process asks for; payload and answer are JSON-ready.

        Commands come one at a time, in a thread of their own, also while a job runs. Raises typed errors.
        """


MakeKeeper = Callable[[Mapping[str, str]], Keeper]
"""Makes a worker's keeper in its child, from the worker's settings (`WorkerConfig.settings`)."""


@dataclass(frozen=True)
class Kept:
    """What a child keeps, as its worker knows it.

    Attributes:
        state: see `Keeper.state`.
        keeps: see `Keeper.keeps`.
    """

    state: Mapping[str, Any]
    keeps: bool


NOTHING = Kept({}, keeps=False)
"""What a child keeps that has told nothing, or is dead."""


class Keeping:
    """The keeper's surroundings in the child: tells the worker what is kept, and passes its commands on.

    Args:
        keeper: `module:function` of a `MakeKeeper`.
        settings: the worker's.
        send: sends a frame to the worker, from any thread.
        look_seconds: period at which it looks whether the state has changed.
    """

    def __init__(
        self, keeper: str, settings: Mapping[str, str], send: Callable[[dict[str, Any]], None], look_seconds: float
    ) -> None:
        module, _, name = keeper.partition(":")
        make: MakeKeeper = getattr(importlib.import_module(module), name)
        self.keeper = make(settings)
        self._send = send
        self._look_seconds = look_seconds
        self._commands: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
        self._telling = threading.Lock()
        self._told = ""
        self._failing = False

    def start(self) -> None:
        """Tell the state now and whenever it has changed, and do commands, until the process ends."""
        for work in (self._watch, self._do_commands):
            threading.Thread(target=work, daemon=True, name=f"keeper {work.__name__}").start()

    def tell(self) -> None:
        """Send the state unless it is what was sent last."""
        with self._telling:
            frame = self._look()
            if frame is not None and (told := json.dumps(frame, sort_keys=True)) != self._told:
                self._send(frame)
                self._told = told

    def command(self, frame: Mapping[str, Any]) -> None:
        """Do the command `{"number": …, "payload": …}`, when those before it are done, and send its answer."""
        self._commands.put(frame)

    def _look(self) -> dict[str, Any] | None:
        """The state as a frame; None where the keeper does not tell it."""
        try:
            frame = {"state": dict(self.keeper.state()), "keeps": self.keeper.keeps}
            json.dumps(frame, allow_nan=False)
        except Exception:  # the edge of the keeper: its process lives on, and others know what it told last
            if not self._failing:
                log.exception("The keeper does not tell its state")
            self._failing = True
            return None
        self._failing = False
        return frame

    def _watch(self) -> None:
        while True:
            self.tell()
            time.sleep(self._look_seconds)

    def _do_commands(self) -> None:
        while True:
            frame = self._commands.get()
            answer = self._answer(frame["payload"])
            self.tell()
            self._send({"answer": {"number": frame["number"], **answer}})

    def _answer(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        try:
            result = dict(self.keeper.command(payload))
            json.dumps(result)
        except Exception as error:  # noqa: BLE001 - the edge of a command: whatever happened becomes its error
            return {"error": to_failure(error, "the command").to_record()}
        return {"result": result}

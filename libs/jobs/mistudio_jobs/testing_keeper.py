"""A keeper for tests of the engine; it lives in a worker's child like any other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mistudio_servicekit.errors import MistudioError

SHELF = "mistudio_jobs.testing_keeper:Shelf"
"""Of a worker whose keeper is a `Shelf`."""

_POLL_SECONDS = 0.005


class Shelf:
    """Keeps names; its state tells them, with its process and the worker's settings."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.names: set[str] = set()
        self._settings = settings
        self._broken = False

    @property
    def keeps(self) -> bool:
        """Whether a name is there."""
        return bool(self.names)

    def state(self) -> Mapping[str, Any]:
        """See the class; a fault once it is broken."""
        if self._broken:
            raise RuntimeError("the shelf is broken")
        return {"names": sorted(self.names), "pid": os.getpid(), "settings": dict(self._settings)}

    def command(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do `payload["do"]`, the name of a method below, with `payload["with"]`."""
        answer: Mapping[str, Any] = getattr(self, f"do_{payload['do']}")(payload.get("with"))
        return answer

    def do_put(self, name: str) -> Mapping[str, Any]:
        """Keep `name`."""
        self.names.add(name)
        return {"names": sorted(self.names)}

    def do_drop(self, name: str) -> Mapping[str, Any]:
        """Keep `name` no longer."""
        self.names.discard(name)
        return {"names": sorted(self.names)}

    def do_wait(self, path: str) -> Mapping[str, Any]:
        """Wait until the file `path` is there."""
        while not Path(path).exists():
            time.sleep(_POLL_SECONDS)
        return {}

    def do_fail(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Raise the error of `record`."""
        raise MistudioError.from_record(record)

    def do_fault(self, text: str) -> Mapping[str, Any]:
        """Raise something unexpected."""
        raise RuntimeError(text)

    def do_break(self, broken: bool) -> Mapping[str, Any]:
        """Tell no state any more, or again."""
        self._broken = broken
        return {}

    def do_die(self, _: None) -> Mapping[str, Any]:
        """Kill the process."""
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

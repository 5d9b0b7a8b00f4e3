"""How the threads of one download stop together."""

from __future__ import annotations

import threading


class StoppedError(Exception):
    """The download ends; raised inside its threads only."""


class Stop:
    """A flag that threads check, and that ends their waits."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Ask all threads to stop."""
        self._event.set()

    def check(self) -> None:
        """Raise `StoppedError` once the flag is set."""
        if self._event.is_set():
            raise StoppedError

    def sleep(self, seconds: float) -> None:
        """Wait so long, or raise `StoppedError` as soon as the flag is set."""
        if self._event.wait(max(0.0, seconds)):
            raise StoppedError

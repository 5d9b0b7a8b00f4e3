"""Noticing that whoever started us is gone, also when it was killed and could not tell."""

from __future__ import annotations

import os

import psutil

from mistudio_local.orphans import alive


class Ancestors:
    """The processes above this one in its session, such as `make` and the shell that ran it.

    Those outside the session do not count: `setsid make up` runs on after its terminal is closed.
    """

    def __init__(self) -> None:
        session = os.getsid(0)
        self._processes = [parent for parent in psutil.Process().parents() if _session(parent.pid) == session]

    def gone(self) -> bool:
        """Whether one of them has ended."""
        return not all(map(alive, self._processes))


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None

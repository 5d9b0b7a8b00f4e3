"""The guard of a set of processes: marks them as one stack's, and ends what is left of them whatever happens."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from uuid import uuid4

from mistudio_local.lifecycle import Startable
from mistudio_local.orphans import MARKER, end_all

_log = logging.getLogger(__name__)

_FAREWELL_SECONDS = 15.0


class Guard(Startable):
    """Keeps a watchdog process for the processes that are started with this guard's `mark`.

    Attributes:
        stack_id: the mark's value.
        keep_open: file descriptors that the watchdog shall hold until it has cleared away everything.
    """

    def __init__(self) -> None:
        self.stack_id = str(uuid4())
        self.keep_open: Collection[int] = ()
        self._lock = threading.Lock()
        self._closing = False
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def mark(self) -> Mapping[str, str]:
        """Environment variables that every guarded process must be started with."""
        return {MARKER: self.stack_id}

    @property
    def watchdog_pid(self) -> int | None:
        """Process id of the watchdog while there is one."""
        return self._watchdog.pid if self._watchdog else None

    def start(self) -> None:
        """Start the watchdog, and keep one running."""
        self._closing = False
        self._watchdog = self._spawn()
        threading.Thread(target=self._keep, name="guard", daemon=True).start()

    def stop(self) -> None:
        """End every guarded process that is left, then the watchdog."""
        with self._lock:
            self._closing = True
            watchdog, self._watchdog = self._watchdog, None
        if watchdog is None:
            return
        assert watchdog.stdin is not None
        watchdog.stdin.close()
        try:
            watchdog.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            watchdog.kill()
            watchdog.wait()
            end_all(self.stack_id, grace_seconds=0)

    def _keep(self) -> None:
        while watchdog := self._watchdog:
            status = watchdog.wait()
            with self._lock:
                if self._closing:
                    return
                _log.warning("watchdog ended pid=%d status=%d; starting another", watchdog.pid, status)
                self._watchdog = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name != MARKER}
        return subprocess.Popen(
            [sys.executable, "-m", "mistudio_local.watchdog", self.stack_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
            pass_fds=tuple(self.keep_open),
            start_new_session=True,
        )

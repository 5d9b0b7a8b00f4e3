"""One supervised process: started, awaited, restarted when it dies, stopped in order."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mistudio_local.errors import ProcessNotRunning, StartFailed
from mistudio_local.guard import Guard
from mistudio_local.lifecycle import Startable
from mistudio_local.readiness import Probe

_log = logging.getLogger(__name__)

_FIRST_BACKOFF_SECONDS, _LONGEST_BACKOFF_SECONDS = 0.25, 10.0
# A process that ran this long was well; its next death starts the backoff anew.
_STEADY_SECONDS = 30.0
_POLL_SECONDS = 0.02
_LOG_TAIL_LINES = 12


@dataclass(frozen=True)
class ProcessSpec:
    """What to run and how to know that it is up.

    Attributes:
        name: unique in its stack; also the name of its log file.
        argv: command line; the first word is a path or found on PATH.
        env: its whole environment, to which the guard's mark is added; by default that of this process.
        ready: tells whether the process answers; None counts it as ready once it runs.
        address: where it can be reached, for people.
        stop_signal: asks it to end in order.
        stop_seconds: how long it may take to do so before it is killed.
        ready_seconds: how long it may take to come up.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    ready: Probe | None = None
    address: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    ready_seconds: float = 90.0


class SupervisedProcess(Startable):
    """A process in its own session, restarted with backoff whenever it ends without having been asked to.

    A process that ends before it was ready the first time is not restarted: its start has failed.
    """

    def __init__(self, spec: ProcessSpec, log_file: Path, guard: Guard) -> None:
        self.spec = spec
        self.log_file = log_file
        self.guard = guard
        self._stop_wanted = threading.Event()
        self._spawning = threading.Lock()
        self._was_ready = False
        self._popen: subprocess.Popen[bytes] | None = None
        self._supervisor: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the process is alive just now."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int:
        """Process id, which changes with every restart.

        Raises:
            ProcessNotRunning: it is not alive just now.
        """
        if self._popen is None or not self.running:
            raise ProcessNotRunning(f"{self.spec.name} is not running", next_step="Start it, or await its restart")
        return self._popen.pid

    def start(self) -> None:
        """Launch it and return once it is ready.

        Raises:
            StartFailed: it ended, or did not become ready in time.
        """
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the process and its supervision without waiting for readiness."""
        self._stop_wanted.clear()
        self._was_ready = False
        self._popen = self._spawn()
        self._supervisor = threading.Thread(target=self._supervise, name=f"supervise-{self.spec.name}", daemon=True)
        self._supervisor.start()

    def wait_ready(self) -> None:
        """Return once the process answers, also after a restart.

        Raises:
            StartFailed: it ended for good, or did not become ready in time.
        """
        deadline = time.monotonic() + self.spec.ready_seconds
        while not (self.running and (self.spec.ready is None or self.spec.ready())):
            if self._supervisor is None or not self._supervisor.is_alive():
                raise self._start_failed("ended before it was ready")
            if time.monotonic() > deadline:
                raise self._start_failed(f"was not ready after {self.spec.ready_seconds:.0f} s")
            time.sleep(_POLL_SECONDS)
        self._was_ready = True

    def run_to_end(self) -> None:
        """Wait until a launched process that does one thing has done it.

        Raises:
            StartFailed: it ended with another status than 0, or not in time.
        """
        assert self._popen is not None
        try:
            status = self._popen.wait(self.spec.ready_seconds)
        except subprocess.TimeoutExpired:
            raise self._start_failed(f"was not done after {self.spec.ready_seconds:.0f} s") from None
        if status:
            raise self._start_failed(f"ended with status {status}")

    def kill(self) -> None:
        """Kill the process as a crash would; supervision then restarts it. Its children are left alone."""
        popen = self._popen
        if popen is None or not self.running:
            raise ProcessNotRunning(f"{self.spec.name} is not running", next_step="Start it, or await its restart")
        popen.kill()
        popen.wait()

    def restart(self) -> None:
        """Stop it in order, start it again and wait until it is ready."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """Ask it to end, and kill its process group when it has not within the time that it has for that."""
        self.request_stop()
        self.finish_stop()

    def request_stop(self) -> None:
        """Send the stop signal and end supervision; `finish_stop` waits."""
        with self._spawning:
            self._stop_wanted.set()
            if self._popen is not None and self.running:
                self._popen.send_signal(self.spec.stop_signal)

    def finish_stop(self) -> None:
        """Wait for the end that `request_stop` has asked for, then kill what is left of the process group."""
        if self._popen is None:
            return
        if self._supervisor is not None:
            self._supervisor.join(self.spec.stop_seconds)
        if self.running:
            _log.warning("%s did not stop within %.0f s; killing it", self.spec.name, self.spec.stop_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        self._popen = None

    def _supervise(self) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        while self._popen is not None:
            started = time.monotonic()
            status = self._popen.wait()
            if self._stop_wanted.is_set() or not self._was_ready:
                return
            if time.monotonic() - started > _STEADY_SECONDS:
                backoff = _FIRST_BACKOFF_SECONDS
            _log.warning("%s died pid=%d status=%d restart_in=%.2fs", self.spec.name, self._popen.pid, status, backoff)
            if self._stop_wanted.wait(backoff):
                return
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)
            with self._spawning:
                if self._stop_wanted.is_set():
                    return
                self._popen = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            return subprocess.Popen(
                list(self.spec.argv),
                env={**self.spec.env, **self.guard.mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches the stack alone, which then stops its processes in order.
                start_new_session=True,
            )

    def _start_failed(self, what: str) -> StartFailed:
        lines = self.log_file.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return StartFailed(
            f"{self.spec.name} {what}; the end of its log: {' | '.join(lines)}",
            next_step=f"Read {self.log_file}",
        )


def stop_together(processes: Sequence[SupervisedProcess]) -> None:
    """Ask all of `processes` to end at once, then wait for each."""
    for process in processes:
        process.request_stop()
    for process in processes:
        process.finish_stop()

"""The child process of a worker: runs one handler at a time, in its own process group, and dies with its parent.

Started as `python -m mistudio_jobs.child <socket> <lifeline> <settings>` by `mistudio_jobs.runner`.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from mistudio_jobs.failures import describe
from mistudio_jobs.handler import Handler
from mistudio_jobs.keeping import Keeper, Keeping
from mistudio_jobs.pipe import Report, Task, encode, receive_blocking
from mistudio_jobs.timing import Timing
from mistudio_servicekit.errors import JobCancelled
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.storage import Store

_F_SETSIG = 10  # fcntl(2), Linux; Python's fcntl has no name for it


@dataclass(frozen=True)
class ChildSettings:
    """What a child is started with.

    Attributes:
        store_root: folder of the shared store.
        store_quota_bytes: its quota, or None.
        settings: the worker's own settings, for handlers.
        preload: modules to import before the first job.
        report_seconds: least time between two reports of progress.
        process: its name in logs.
        log_level: least level that is logged.
        keeper: `module:function` of a `MakeKeeper`, or None.
        look_seconds: period at which its state is looked at.
    """

    store_root: str
    store_quota_bytes: int | None
    settings: Mapping[str, str]
    preload: Sequence[str]
    report_seconds: float
    process: str
    log_level: str
    keeper: str | None = None
    look_seconds: float = Timing.look

    def to_json(self) -> str:
        """For the command line; it holds no secrets."""
        return json.dumps(asdict(self))


class Reporter:
    """Sends progress to the parent: the first report at once, then the latest of each interval."""

    def __init__(self, connection: socket.socket, interval: float) -> None:
        self._connection = connection
        self._interval = interval
        self._lock = threading.Lock()
        self._waiting = threading.Event()
        self._latest: Report | None = None
        self._sent_at = -interval
        self._position = 0
        threading.Thread(target=self._send_late, daemon=True, name="reporter").start()

    def begin(self) -> None:
        """Forget the job before."""
        with self._lock:
            self._latest, self._position, self._sent_at = None, 0, -self._interval

    def report(self, done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float]) -> None:
        """Send this report now or, unless a newer one comes, when its time has come."""
        with self._lock:
            self._position += 1
            self._latest = Report(done, total, unit, stage, dict(metrics), self._position)
            if time.monotonic() - self._sent_at >= self._interval:
                self._flush()
        if self._latest is not None:
            self._waiting.set()

    def send(self, frame: dict[str, Any]) -> None:
        """Send what came last, then `frame`."""
        with self._lock:
            self._flush()
            self._connection.sendall(encode(frame))

    def send_beside(self, frame: dict[str, Any]) -> None:
        """Send `frame`, which has nothing to do with the job; its progress waits for its time."""
        with self._lock:
            self._connection.sendall(encode(frame))

    def _flush(self) -> None:
        if self._latest is not None:
            self._connection.sendall(encode({"progress": asdict(self._latest)}))
            self._latest, self._sent_at = None, time.monotonic()

    def _send_late(self) -> None:
        while self._waiting.wait():
            time.sleep(max(0.0, self._sent_at + self._interval - time.monotonic()))
            self._waiting.clear()
            with self._lock:
                self._flush()


class ChildContext:
    """The `JobContext` of the running attempt."""

    def __init__(self, task: Task, reporter: Reporter, settings: ChildSettings, keeper: Keeper | None) -> None:
        self.job_id = UUID(task.job_id)
        self.resource_id = UUID(task.resource_id)
        self.attempt = task.attempt
        self.epoch = task.epoch
        self.folder = Path(task.folder)
        self.store = Store(Path(settings.store_root), settings.store_quota_bytes)
        self.secrets: Mapping[str, str] = task.secrets
        self.settings = settings.settings
        self.keeper = keeper
        self.cancelling = threading.Event()
        self._reporter = reporter

    def report(self, done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
        """See `JobContext.report`."""
        self._reporter.report(int(done), int(total), unit, stage, metrics or {})

    def check(self) -> None:
        """See `JobContext.check`."""
        if self.cancelling.is_set():
            raise JobCancelled("The job was cancelled", next_step="Retry it if it is wanted after all")

    def cancelled(self) -> bool:
        """See `JobContext.cancelled`."""
        return self.cancelling.is_set()


class ChildProcess:
    """Takes tasks from the parent, one after the other, until the parent is gone."""

    def __init__(self, connection: socket.socket, settings: ChildSettings) -> None:
        self._connection = connection
        self._settings = settings
        self._reporter = Reporter(connection, settings.report_seconds)
        self._keeping: Keeping | None = None
        self._context: ChildContext | None = None
        self._task: Task | None = None
        self._arrived = threading.Semaphore(0)

    def run(self) -> None:
        """Never returns: the parent's end is the child's."""
        for module in self._settings.preload:
            importlib.import_module(module)
        if (keeper := self._settings.keeper) is not None:
            settings = self._settings
            self._keeping = Keeping(keeper, settings.settings, self._reporter.send_beside, settings.look_seconds)
        threading.Thread(target=self._listen, daemon=True, name="listener").start()
        self._reporter.send({"ready": True})
        if self._keeping is not None:
            self._keeping.start()
        while True:
            self._arrived.acquire()
            task, context = self._task, self._context
            assert task is not None and context is not None
            self._reporter.begin()
            outcome = _answer(task, context)
            if self._keeping is not None:
                self._keeping.tell()  # whoever sees the job's end sees what it left
            self._reporter.send(outcome)

    def _listen(self) -> None:
        while (frame := receive_blocking(self._connection)) is not None:
            if "run" in frame:
                self._task = Task(**frame["run"])
                keeper = self._keeping.keeper if self._keeping is not None else None
                self._context = ChildContext(self._task, self._reporter, self._settings, keeper)
                self._arrived.release()
            elif "command" in frame and self._keeping is not None:
                self._keeping.command(frame["command"])
            elif self._context is not None and frame.get("cancel") == self._context.epoch:
                self._context.cancelling.set()
        os.killpg(0, signal.SIGKILL)


def _answer(task: Task, context: ChildContext) -> dict[str, Any]:
    try:
        result = load_handler(task.handler)(task.payload, context)
        json.dumps(result)  # a result that cannot be kept is the handler's fault, not the pipe's
    except Exception as error:  # noqa: BLE001 - the edge of a job: whatever happened becomes its error
        failure, trace = describe(error, f"job {task.job_id}")
        return {"failed": failure.to_record(), "trace": trace}
    return {"done": dict(result)}


def load_handler(path: str) -> Handler:
    """The function that `module:function` names."""
    module, _, name = path.partition(":")
    return cast(Handler, getattr(importlib.import_module(module), name))


def die_with_parent(lifeline: int) -> None:
    """Have the kernel kill this whole process group when the pipe `lifeline` closes, which only the parent holds open.

    It needs no line of Python to run, so it also ends a child that is stopped or deep in native code.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os.killpg(0, signal.SIGKILL)


def main(arguments: Sequence[str]) -> None:
    """Entry of the process."""
    descriptor, lifeline, settings = arguments
    for inherited in (int(descriptor), int(lifeline)):
        os.set_inheritable(inherited, False)
    die_with_parent(int(lifeline))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    wanted = ChildSettings(**json.loads(settings))
    setup_logging(wanted.process, wanted.log_level)
    ChildProcess(socket.socket(fileno=int(descriptor)), wanted).run()


if __name__ == "__main__":
    main(sys.argv[1:])

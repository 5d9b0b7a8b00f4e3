"""Handlers for tests and benchmarks of the engine; they run in a worker's child like any other."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mistudio_jobs.handler import JobContext
from mistudio_servicekit.errors import MistudioError

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.005


def noop(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Does nothing."""
    return {}


def scripted(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Does the steps in `payload["steps"]`, each `[name, arguments…]` of `_STEPS`; returns what they noted.

    Steps of an attempt that has its own list in `payload["attempt <n>"]` are taken from there.
    """
    notes: dict[str, Any] = {"attempt": context.attempt, "epoch": context.epoch, "pid": os.getpid()}
    for name, *arguments in payload.get(f"attempt {context.attempt}", payload.get("steps", [])):
        _STEPS[name](context, notes, *arguments)
    return notes


def _report(context: JobContext, notes: dict[str, Any], done: int, total: int) -> None:
    context.report(done, total, "rows", "counting", {"tokens": float(done)})


def _count(context: JobContext, notes: dict[str, Any], total: int, seconds: float) -> None:
    """Report 1 to `total`, evenly over `seconds`."""
    for done in range(1, total + 1):
        context.check()
        context.report(done, total, "rows", "counting")
        time.sleep(seconds / total)


def _write(context: JobContext, notes: dict[str, Any], name: str, content: str) -> None:
    (context.folder / name).write_text(content)


def _list(context: JobContext, notes: dict[str, Any]) -> None:
    notes["files"] = sorted(path.name for path in context.folder.iterdir())


def _signal(context: JobContext, notes: dict[str, Any], path: str) -> None:
    """Make the file `path`: whoever waits for it knows that the handler is here."""
    Path(path).write_text(str(os.getpid()))


def _wait(context: JobContext, notes: dict[str, Any], path: str) -> None:
    """Wait until the file `path` is there, or the job is cancelled."""
    while not Path(path).exists():
        context.check()
        time.sleep(_POLL_SECONDS)


def _wait_deaf(context: JobContext, notes: dict[str, Any], path: str) -> None:
    """Wait until the file `path` is there, whatever happens to the job."""
    while not Path(path).exists():
        time.sleep(_POLL_SECONDS)


def _linger(context: JobContext, notes: dict[str, Any], seconds: float) -> None:
    """Wait until the job is cancelled, and stop so many seconds later."""
    while not context.cancelled():
        time.sleep(_POLL_SECONDS)
    time.sleep(seconds)
    context.check()


def _fail(context: JobContext, notes: dict[str, Any], record: Mapping[str, Any]) -> None:
    raise MistudioError.from_record(record)


def _fault(context: JobContext, notes: dict[str, Any], text: str) -> None:
    raise RuntimeError(text)


def _disk_full(context: JobContext, notes: dict[str, Any]) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _memory_error(context: JobContext, notes: dict[str, Any]) -> None:
    raise MemoryError


def _allocate(context: JobContext, notes: dict[str, Any], size: int) -> None:
    """Fill `size` bytes and keep them until the job is cancelled."""
    filled = bytearray(os.urandom(4096)) * (size // 4096)
    while filled:
        context.check()
        time.sleep(_POLL_SECONDS)


def _die(context: JobContext, notes: dict[str, Any], number: int) -> None:
    os.kill(os.getpid(), number)


def _use_secret(context: JobContext, notes: dict[str, Any], name: str) -> None:
    """Note the length of a secret: that proves it came, and tells nothing."""
    notes["secret_length"] = len(context.secrets[name])


def _log(context: JobContext, notes: dict[str, Any], logger: str, event: str) -> None:
    logging.getLogger(logger).info(event)


def _fork(context: JobContext, notes: dict[str, Any], path: str) -> None:
    """Start a process that outlives the handler, and write its id to `path`."""
    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")  # noqa: S606 - what a handler might do
    Path(path).write_text(str(pid))


def _keep(context: JobContext, notes: dict[str, Any], name: str) -> None:
    """Have the worker's keeper keep `name`; it is a `Shelf`."""
    assert context.keeper is not None
    context.keeper.command({"do": "put", "with": name})


def _has_keeper(context: JobContext, notes: dict[str, Any]) -> None:
    notes["has_keeper"] = context.keeper is not None


_STEPS: Mapping[str, Callable[..., None]] = {
    "report": _report,
    "count": _count,
    "write": _write,
    "list": _list,
    "signal": _signal,
    "wait": _wait,
    "wait_deaf": _wait_deaf,
    "linger": _linger,
    "fail": _fail,
    "fault": _fault,
    "disk_full": _disk_full,
    "memory_error": _memory_error,
    "allocate": _allocate,
    "die": _die,
    "use_secret": _use_secret,
    "log": _log,
    "fork": _fork,
    "keep": _keep,
    "has_keeper": _has_keeper,
}

"""Finding and ending every process of a stack, however far it has detached itself.

Each process of a stack carries the stack's id in its environment, which all its descendants inherit, in whatever
session or process group they put themselves.
"""

from __future__ import annotations

import contextlib
import time

import psutil

MARKER = "MISTUDIO_STACK_ID"

_SWEEP_SECONDS = 10.0
_POLL_SECONDS = 0.02


def members(stack_id: str) -> set[psutil.Process]:
    """The living processes of the stack `stack_id`.

    Descendants count even without the mark: Postgres backends write their title over their environment.
    """
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        if _carries(process, stack_id):
            found.add(process)
            with contextlib.suppress(psutil.Error):
                found.update(process.children(recursive=True))
    return {process for process in found if alive(process)}


def end_all(stack_id: str, grace_seconds: float) -> None:
    """Ask every process of the stack to end, and kill those that have not after `grace_seconds`."""
    remaining = members(stack_id)
    for process in remaining:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    remaining = _await_end(remaining, grace_seconds)
    deadline = time.monotonic() + _SWEEP_SECONDS
    # Swept again until none is found: a process may have been born between the look and the kill.
    while (remaining := remaining | members(stack_id)) and time.monotonic() < deadline:
        for process in remaining:
            with contextlib.suppress(psutil.Error):
                process.kill()
        remaining = _await_end(remaining, seconds=1.0)


def alive(process: psutil.Process) -> bool:
    """Whether it still runs; a dead process that nobody has reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _await_end(processes: set[psutil.Process], seconds: float) -> set[psutil.Process]:
    """Those that still run after `seconds`, or none as soon as all have ended."""
    deadline = time.monotonic() + seconds
    while (processes := set(filter(alive, processes))) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return processes


def _carries(process: psutil.Process, stack_id: str) -> bool:
    try:
        return process.environ().get(MARKER) == stack_id
    except (psutil.Error, OSError):
        return False

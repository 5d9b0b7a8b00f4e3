"""From exceptions and dead processes to typed errors, and how long to wait before another try."""

from __future__ import annotations

import logging
import random
import signal
import traceback
from pathlib import Path

from mistudio_jobs.timing import Timing
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import Internal, MistudioError, OutOfMemory, WorkerLost
from mistudio_servicekit.storage import disk_full, is_disk_full

log = logging.getLogger(__name__)

_MEMORY_EVENTS = Path("/sys/fs/cgroup/memory.events")


def to_failure(error: BaseException, what: str) -> MistudioError:
    """The typed error for anything `what` (for example `job 0197…`) may raise.

    An unexpected exception becomes `Internal`: its text stays in the log, under an incident id that the user sees too.
    """
    failure, trace = describe(error, what)
    log_fault(failure, trace)
    return failure


def describe(error: BaseException, what: str) -> tuple[MistudioError, str]:
    """The typed error as `to_failure` gives it, and what is to be logged with it: a traceback, or nothing.

    For whoever cannot know yet whether anybody will see the error; `log_fault` then logs it.
    """
    if isinstance(error, MistudioError):
        return error, ""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return out_of_memory(what), ""
    if isinstance(error, OSError) and is_disk_full(error):
        return disk_full(f"The store ran full during {what}"), ""
    incident = str(new_id())
    failure = Internal(
        f"An unexpected fault stopped {what} (incident {incident})",
        next_step="Look for the incident id in the worker's log, then try again",
        metadata={"incident": incident},
    )
    return failure, "".join(traceback.format_exception(error))


def log_fault(failure: MistudioError, trace: str) -> None:
    """Log an unexpected fault, as `describe` gave it, under the incident that its users see."""
    if trace:
        log.error("%s\n%s", failure.problem, trace)


def out_of_memory(what: str) -> OutOfMemory:
    """The error for work that needs more memory than there is."""
    return OutOfMemory(
        f"{what} needed more memory than the worker has",
        next_step="Retry with a smaller batch, or give the worker more memory",
    )


def died(exit_code: int | None, what: str, *, killed_for_memory: bool) -> MistudioError:
    """The error for a child process that ended in the middle of `what`.

    Args:
        exit_code: as `subprocess` gives it: negative for a signal.
        what: what it was doing.
        killed_for_memory: whether the kernel or the worker killed it for its memory.
    """
    if killed_for_memory:
        return out_of_memory(what)
    return WorkerLost(
        f"The process that ran {what} {how_ended(exit_code)}",
        next_step="It is tried again by itself; if it keeps failing, look at the worker's log",
    )


def how_ended(exit_code: int | None) -> str:
    """How a process ended, by its exit code as `subprocess` gives it: `was killed by SIGKILL`."""
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def kernel_memory_kills() -> int:
    """How often the kernel has killed a process of this container for want of memory; 0 where that is not told."""
    try:
        lines = _MEMORY_EVENTS.read_text().splitlines()
    except OSError:
        return 0
    counts = dict(line.split() for line in lines)
    return int(counts.get("oom_kill", 0))


def backoff(attempt: int, error: MistudioError, timing: Timing) -> float:
    """Seconds to wait after the failed `attempt` (from 1): doubling, with jitter, never less than the error asks."""
    doubled = timing.backoff_first * 2.0 ** min(attempt - 1, 30)
    spread = random.uniform(0.75, 1.25)  # noqa: S311 - guards nothing
    jittered = min(doubled, timing.backoff_most) * spread
    return max(min(jittered, timing.backoff_most), error.retry_after_seconds or 0.0)

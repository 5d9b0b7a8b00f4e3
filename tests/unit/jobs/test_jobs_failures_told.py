"""From exceptions and dead processes to typed errors."""

from __future__ import annotations

import errno
import signal

import pytest

from mistudio_jobs.failures import backoff, died, to_failure
from mistudio_jobs.timing import Timing
from mistudio_servicekit.errors import (
    FailureClass,
    HubRateLimited,
    HubUnavailable,
    MalformedFile,
    MistudioError,
    Reason,
)

AWAY = HubUnavailable("The Hub is away", next_step="Wait")


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (OSError(errno.ENOSPC, "full"), FailureClass.DISK_FULL),
        (OSError(errno.EDQUOT, "full"), FailureClass.DISK_FULL),
        (MemoryError(), FailureClass.OOM),
        (type("OutOfMemoryError", (RuntimeError,), {})(), FailureClass.OOM),
        (KeyError("x"), FailureClass.UNKNOWN),
        (MalformedFile("Row 3", next_step="Repair it"), FailureClass.VALIDATION),
    ],
)
def test_an_exception_is_told_by_its_class(error: Exception, failure: FailureClass) -> None:
    assert to_failure(error, "job 1").failure is failure


def test_an_unexpected_exception_keeps_its_text_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    failure = to_failure(ValueError("password=1234"), "job 1")
    assert failure.reason is Reason.INTERNAL and not failure.transient
    assert "1234" not in failure.message and failure.metadata["incident"] in failure.message
    assert failure.metadata["incident"] in caplog.text and "1234" in caplog.text


def test_a_dead_process_is_a_passing_failure_unless_memory_killed_it() -> None:
    killed = died(-signal.SIGKILL, "job 1", killed_for_memory=False)
    assert killed.transient and killed.reason is Reason.WORKER_LOST and "SIGKILL" in killed.message
    assert "exit code 3" in died(3, "job 1", killed_for_memory=False).message
    starved = died(-signal.SIGKILL, "job 1", killed_for_memory=True)
    assert starved.failure is FailureClass.OOM and not starved.transient


@pytest.mark.parametrize(("attempt", "low", "high"), [(1, 1.5, 2.5), (2, 3, 5), (4, 12, 20), (50, 225, 300)])
def test_waits_double_with_jitter_up_to_five_minutes(attempt: int, low: float, high: float) -> None:
    waits = {backoff(attempt, AWAY, Timing()) for _ in range(200)}
    assert min(waits) >= low and max(waits) <= high and len(waits) > 1


def test_a_wait_is_never_shorter_than_the_server_asked() -> None:
    limited: MistudioError = HubRateLimited("429", next_step="Wait", retry_after_seconds=42.0)
    assert backoff(1, limited, Timing()) == 42.0

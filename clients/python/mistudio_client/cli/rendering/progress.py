"""A job's progress in words, the same for bars and for plain lines."""

from __future__ import annotations

from mistudio.jobs.v1 import job_pb2
from mistudio_client.cli.rendering.formats import byte_size, duration, number, quantity, visible

_STATE_WORDS = {
    job_pb2.JOB_STATE_QUEUED: "waiting for a worker",
    job_pb2.JOB_STATE_RUNNING: "running",
    job_pb2.JOB_STATE_RETRY_WAIT: "waiting to try again",
    job_pb2.JOB_STATE_CANCELLING: "cancelling",
    job_pb2.JOB_STATE_SUCCEEDED: "done",
    job_pb2.JOB_STATE_FAILED: "FAILED",
    job_pb2.JOB_STATE_CANCELLED: "cancelled",
}
# Units of the work itself; others count the steps of a job's last stage.
_TELLING_UNITS = ("bytes", "rows", "sequences")


def activity(job: job_pb2.Job) -> str:
    """What the job is doing, in a word or a few; from its second attempt on with its number."""
    running = job.state == job_pb2.JOB_STATE_RUNNING
    known = job.progress.stage if running else visible(job.wait.reason)
    words = known or _STATE_WORDS.get(job.state, "unknown state")
    return f"{words} (attempt {job.attempt})" if job.attempt > 1 else words


def amount(progress: job_pb2.Progress) -> str:
    """How much is done, of how much where that is known: `45.2 MB of 91.0 MB`."""
    if not progress.unit:
        return ""
    if not progress.total:
        return quantity(progress.done, progress.unit)
    if progress.unit == "bytes":
        return f"{byte_size(progress.done)} of {byte_size(progress.total)}"
    return f"{number(progress.done)} of {number(progress.total)} {visible(progress.unit)}"


def further_figures(progress: job_pb2.Progress) -> str:
    """The figures that a job reports beside what it counts: bytes and tokens."""
    metrics, parts = progress.metrics, []
    if "bytes" in metrics and progress.unit != "bytes":
        total = metrics.get("bytes_total", 0.0)
        unfinished = progress.done < progress.total and total
        parts.append(byte_size(metrics["bytes"]) + (f" of {byte_size(total)}" if unfinished else ""))
    if "tokens" in metrics:
        parts.append(f"{number(metrics['tokens'])} tokens")
    return ", ".join(parts)


def rate(progress: job_pb2.Progress) -> str:
    """Units a second, as the worker measures them; empty while it does not know."""
    return f"{quantity(progress.rate, progress.unit)}/s" if progress.rate and progress.unit else ""


def eta(progress: job_pb2.Progress) -> str:
    """Time left at this rate; empty while it is not known."""
    return f"ETA {duration(progress.eta_seconds)}" if progress.HasField("eta_seconds") else ""


def percent(progress: job_pb2.Progress) -> str:
    """The share that is done; empty while the total is not known."""
    return f"{100 * progress.fraction:.0f} %" if progress.total else ""


def outcome(job: job_pb2.Job) -> str:
    """An ended job in a line: how it ended, what it did, how long that took."""
    if job.state != job_pb2.JOB_STATE_SUCCEEDED:
        return activity(job)
    progress, taken = job.progress, _seconds_taken(job)
    parts = [activity(job)]
    if progress.unit in _TELLING_UNITS:
        parts += [quantity(progress.done, progress.unit), further_figures(progress)]
    parts.append(f"in {duration(taken)}" if taken else "")
    if progress.unit in _TELLING_UNITS and taken:
        parts.append(f"{quantity(progress.done / taken, progress.unit)}/s")
    return "  ".join(part for part in parts if part)


def running_line(job: job_pb2.Job) -> str:
    """A job that has not ended in a line, with every figure that is known."""
    if job.state != job_pb2.JOB_STATE_RUNNING:
        return heading(job)
    progress = job.progress
    parts = [activity(job), amount(progress), percent(progress), further_figures(progress), rate(progress)]
    return "  ".join(part for part in [*parts, eta(progress)] if part)


def heading(job: job_pb2.Job) -> str:
    """What stands above the bar of a job: what it does, and its further figures or why it waits."""
    running = job.state == job_pb2.JOB_STATE_RUNNING
    remark = further_figures(job.progress) if running else visible(job.error.message)
    return "  ".join(part for part in (activity(job), remark) if part)


def bar_figures(job: job_pb2.Job) -> str:
    """What stands beside the bar of a job."""
    progress = job.progress
    figures = (percent(progress), amount(progress), rate(progress), eta(progress))
    return "  ".join(part for part in figures if part) if job.state == job_pb2.JOB_STATE_RUNNING else ""


def _seconds_taken(job: job_pb2.Job) -> float:
    return max(0.0, (job.end_time.ToNanoseconds() - job.start_time.ToNanoseconds()) / 1e9)

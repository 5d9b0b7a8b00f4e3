"""What clients know about jobs: when one has ended, and what an event makes of it."""

from __future__ import annotations

from mistudio.jobs.v1 import job_pb2

ENDED_STATES = frozenset({job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED})


def has_ended(job: job_pb2.Job) -> bool:
    """Whether the job has reached a terminal state."""
    return job.state in ENDED_STATES


def after(job: job_pb2.Job, event: job_pb2.JobEvent) -> job_pb2.Job:
    """The job as `event` leaves it; `job` itself is not changed."""
    changed = job_pb2.Job()
    if event.HasField("state_changed"):
        changed.CopyFrom(event.state_changed)
        return changed
    changed.CopyFrom(job)
    changed.progress.CopyFrom(event.progress)
    return changed


def first_seen(event: job_pb2.JobEvent) -> job_pb2.Job:
    """What an event tells about a job that nothing else is known of."""
    job = job_pb2.Job(
        id=event.job_id,
        service=event.service,
        kind=event.kind,
        resource_type=event.resource_type,
        resource_id=event.resource_id,
        attempt=event.attempt,
        state=job_pb2.JOB_STATE_RUNNING,
    )
    return after(job, event)

"""Jobs and what happens to them as protobuf messages, and the subjects they are published on.

Neither this module nor `streams` and `reader` touch a database, so that the gateway can use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from google.protobuf.json_format import ParseDict
from google.protobuf.timestamp_pb2 import Timestamp

from mistudio.jobs.v1 import job_pb2 as pb
from mistudio_jobs.states import JobState

if TYPE_CHECKING:
    from mistudio_jobs.presence import WorkerInfo
    from mistudio_jobs.tables import Job, JobAttempt, JobProgress
    from mistudio_jobs.waiting import Wait


def state_subject(service: str, job_id: UUID) -> str:
    """Subject of a job's changes of state."""
    return f"evt.{service}.{job_id}.state"


def progress_subject(service: str, job_id: UUID) -> str:
    """Subject of a job's progress."""
    return f"evt.{service}.{job_id}.progress"


def job_subjects(service: str, job_id: UUID | str) -> str:
    """Everything that happens to one job."""
    return f"evt.{service}.{job_id}.>"


def deleted_subject(service: str, resource_id: UUID | str) -> str:
    """Subject of the news that a resource of a service was deleted; `*` stands for any."""
    return f"evt.{service}.{resource_id}.deleted"


def doorbell_subject(service: str, pool: str, job_id: UUID) -> str:
    """Subject of the message that wakes a worker for a job."""
    return f"jobs.{service}.{pool}.{job_id}"


def control_subject(service: str, job_id: UUID | str) -> str:
    """Subject on which a job's worker hears of its cancellation."""
    return f"ctl.{service}.{job_id}"


def worker_subject(service: str, worker: str) -> str:
    """Subject on which a worker hears commands; its name may hold anything."""
    token = quote(worker, safe="").replace(".", "%2E")
    return f"ctl.{service}.worker.{token}"


def relay_subject(service: str) -> str:
    """Subject on which a service's relay hears of new rows in its outbox."""
    return f"ctl.{service}.relay"


@dataclass(frozen=True, slots=True)
class ToldJob:
    """A job as a row of the outbox tells it: the columns that clients see, at the time `at`."""

    id: str
    kind: str
    pool: str
    resource_type: str
    resource_id: str
    state: str
    version: int
    attempt: int
    max_attempts: int
    progress: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    result: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    available_at: datetime | None
    at: datetime

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> ToldJob:
        """From the row's JSON."""
        times = {name: datetime.fromisoformat(told[name]) for name in _TIMES if told[name] is not None}
        return cls(**{**told, **times})

    @property
    def service(self) -> str:
        """The service that owns the job: the first part of its kind."""
        return self.kind.partition(".")[0]


_TIMES = ("created_at", "started_at", "finished_at", "available_at", "at")


def job_message(job: Job | ToldJob) -> pb.Job:
    """The job as clients see it, without its attempts."""
    message = pb.Job(
        id=str(job.id),
        service=job.service,
        kind=job.kind,
        pool=job.pool,
        resource_type=job.resource_type,
        resource_id=str(job.resource_id),
        state=state_value(JobState(job.state)),
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        version=job.version,
        create_time=timestamp(job.created_at),
        start_time=timestamp(job.started_at),
        end_time=timestamp(job.finished_at),
        available_at=timestamp(job.available_at),
    )
    if job.progress is not None:
        message.progress.CopyFrom(progress_message(job.progress))
    if job.error is not None:
        message.error.CopyFrom(error_message(job.error))
    if job.result is not None:
        ParseDict(job.result, message.result)
    return message


def state_value(state: JobState) -> pb.JobState.ValueType:
    """The protobuf value of `state`."""
    return pb.JobState.Value(f"JOB_STATE_{state}")


def progress_message(progress: Mapping[str, Any]) -> pb.Progress:
    """The progress kept in a job's row, which is `pb.Progress` by field name."""
    return pb.Progress(**progress)


def error_message(record: Mapping[str, Any]) -> pb.JobError:
    """The error record of a job or attempt (`MistudioError.to_record`) as clients see it."""
    return pb.JobError(
        failure_class=pb.FailureClass.Value(f"FAILURE_CLASS_{record['failure']}"),
        message=f"{record['problem']}. {record['next_step']}.",
        reason=record["reason"],
        suggestion=f"{record['next_step']}.",
    )


def attempt_message(attempt: JobAttempt) -> pb.JobAttempt:
    """One attempt as clients see it."""
    return pb.JobAttempt(
        attempt=attempt.attempt,
        worker=attempt.worker,
        start_time=timestamp(attempt.started_at),
        end_time=timestamp(attempt.finished_at),
        outcome=attempt.outcome or "",
        error=error_message(attempt.error) if attempt.error else None,
    )


def point_message(point: JobProgress) -> pb.ProgressPoint:
    """One kept point of progress as clients see it."""
    progress = pb.Progress(
        done=point.done,
        total=point.total,
        unit=point.unit,
        stage=point.stage,
        fraction=point.fraction,
        metrics=point.metrics,
        position=point.position,
    )
    return pb.ProgressPoint(attempt=point.attempt, time=timestamp(point.at), progress=progress)


def encoded(payload: Mapping[str, Any] | str) -> bytes:
    """What is published for a row of the outbox: a job that is told, or a text, as doorbells and deletions have."""
    return payload.encode() if isinstance(payload, str) else _state_event(ToldJob.of(payload)).SerializeToString()


def _state_event(job: ToldJob) -> pb.JobEvent:
    event = _event(job, job.at)
    event.state_changed.CopyFrom(job_message(job))
    return event


def progress_event(job: Job, progress: pb.Progress) -> pb.JobEvent:
    """The event that tells of the running attempt's progress."""
    event = _event(job, datetime.now(UTC))
    event.progress.CopyFrom(progress)
    return event


def _event(job: Job | ToldJob, time: datetime) -> pb.JobEvent:
    return pb.JobEvent(
        job_id=str(job.id),
        service=job.service,
        attempt=job.attempt,
        time=timestamp(time),
        kind=job.kind,
        resource_type=job.resource_type,
        resource_id=str(job.resource_id),
    )


def worker_message(service: str, worker: WorkerInfo) -> pb.Worker:
    """A worker of `service` as clients see it."""
    message = pb.Worker(
        name=worker.name,
        service=service,
        pool=worker.pool,
        host=worker.host,
        job_id=str(worker.job_id or ""),
        start_time=timestamp(worker.started_at),
        seen_time=timestamp(worker.seen_at),
    )
    ParseDict(dict(worker.state), message.state)
    return message


def wait_message(wait: Wait) -> pb.JobWait:
    """What a queued job waits for, as clients see it."""
    return pb.JobWait(ahead=wait.ahead, workers=wait.workers, reason=wait.reason)


def timestamp(time: datetime | None) -> Timestamp | None:
    """`time` as protobuf has it."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message

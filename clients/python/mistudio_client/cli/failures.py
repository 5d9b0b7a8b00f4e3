"""Why a command ends with status 1, beside failed calls."""

from __future__ import annotations

from mistudio.jobs.v1 import job_pb2


class CommandFailed(Exception):
    """The command cannot do what was asked. Its text says what is wrong and what to do next."""


class JobNotSucceeded(CommandFailed):
    """The job that the command waited for failed or was cancelled."""

    def __init__(self, job: job_pb2.Job) -> None:
        again = f"Start it again with `mistudio jobs retry {job.id}`."
        if job.state == job_pb2.JOB_STATE_CANCELLED:
            super().__init__(f"The job {job.id} was cancelled. {again}")
        else:
            super().__init__(f"{job.error.message or f'The job {job.id} failed.'}\n{again}")
        self.job = job

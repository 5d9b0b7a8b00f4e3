"""What a service tells the engine about its jobs: their kinds, what runs them, and what their ends do to a resource."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from mistudio_jobs.effects import NoEffects
from mistudio_jobs.keeping import Keeper
from mistudio_servicekit.storage import Area, Store

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from mistudio_jobs.tables import Job


class JobContext(Protocol):
    """What a handler gets beside its payload. It lives in the worker's child process."""

    @property
    def job_id(self) -> UUID:
        """Id of the job."""

    @property
    def resource_id(self) -> UUID:
        """Id of the resource the job works for."""

    @property
    def attempt(self) -> int:
        """Number of this try, from 1."""

    @property
    def epoch(self) -> int:
        """Number of this claim; names the folder."""

    @property
    def folder(self) -> Path:
        """This attempt's own folder, which exists; a resumable job finds the last attempt's files in it."""

    @property
    def store(self) -> Store:
        """The shared store."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """The job's opened secrets by name, for example `hub_token`."""

    @property
    def settings(self) -> Mapping[str, str]:
        """The worker's own settings by name, for example `hub_endpoint`."""

    @property
    def keeper(self) -> Keeper | None:
        """What keeps things in this process from job to job; None where the worker has none."""

    def report(self, done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
        """Say how far the whole job is: `done` of `total` `unit`s, at present in `stage`.

        One unit and one total for all stages keep the fraction true. Cheap: call it thousands of times a second.
        """

    def check(self) -> None:
        """Raise `JobCancelled` if the job was cancelled. Cheap: call it at least ten times a second."""

    def cancelled(self) -> bool:
        """Whether the job was cancelled."""


Handler = Callable[[Mapping[str, Any], JobContext], Mapping[str, Any]]
"""Runs a job: gets its payload and context, writes into `context.folder` only, returns its result (JSON-ready).

Raises typed errors (`mistudio_servicekit.errors`): transient ones are retried, others end the job.
"""


class Effects(Protocol):
    """What a job's turns do to its resource. Each runs in the engine's fenced transaction and only uses `session`."""

    async def started(self, session: AsyncSession, job: Job) -> None:
        """A worker has taken the job."""

    async def succeeded(self, session: AsyncSession, job: Job, result: Mapping[str, Any]) -> None:
        """The job is done; `job.epoch` names the folder that counts from now on."""

    async def failed(self, session: AsyncSession, job: Job) -> None:
        """The job has failed for good; `job.error` is an error record (`MistudioError.to_record`)."""

    async def cancelled(self, session: AsyncSession, job: Job) -> None:
        """The job was cancelled."""

    async def requeued(self, session: AsyncSession, job: Job) -> None:
        """The job waits for a worker again, after a passing failure or by `RetryJob`."""


@dataclass(frozen=True)
class JobKind:
    """A kind of job.

    Attributes:
        name: `<service>.<verb>`, for example `datasets.download`.
        pool: worker pool that runs it, for example `cpu`.
        resource_type: what it works for, for example `dataset`.
        handler: `module:function` of its `Handler`, imported in the worker's child only.
        effects: what its turns do to the resource.
        area: the area of the store where its folder lies, or None for a job that writes no folder.
        resumable: whether an attempt takes over the folder of the one before.
        max_attempts: attempts after which a transient failure is final.
        result_is_kept: whether what it makes stays with its worker's keeper: a worker that stops gives it back at once.
    """

    name: str
    pool: str
    resource_type: str
    handler: str
    effects: Effects
    area: Area | None = None
    resumable: bool = False
    max_attempts: int = 5
    result_is_kept: bool = False

    @property
    def service(self) -> str:
        """The service that owns it: the first part of its name."""
        return self.name.partition(".")[0]

    @property
    def has_effects(self) -> bool:
        """Whether its turns do something to its resource; those of a kind without are cheaper."""
        return not isinstance(self.effects, NoEffects)

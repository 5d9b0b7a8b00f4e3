"""What a use case returns that starts work, or several pieces of it at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

from mistudio_jobs.tables import Job
from mistudio_servicekit.batches import Refusal

Resource = TypeVar("Resource")


@dataclass(frozen=True)
class Started(Generic[Resource]):
    """A resource and the job that works for it; `joined` when both were there before the request."""

    resource: Resource
    job: Job
    joined: bool


@dataclass
class BatchDeletion:
    """What became of a batch of resources that were to be deleted.

    Attributes:
        deleted: those that are gone, in the order they were given.
        refusals: those that are not, in that order.
        job: removes the files; None where nothing was deleted.
    """

    deleted: list[UUID] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    job: Job | None = None

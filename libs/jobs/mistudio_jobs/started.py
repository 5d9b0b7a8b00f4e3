"""What a use case returns that starts work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from mistudio_jobs.tables import Job

Resource = TypeVar("Resource")


@dataclass(frozen=True)
class Started(Generic[Resource]):
    """A resource and the job that works for it; `joined` when both were there before the request."""

    resource: Resource
    job: Job
    joined: bool

"""Effects that kinds of jobs share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from mistudio_jobs.tables import Job


class NoEffects:
    """Effects of a job whose turns change no resource, for example because it is gone already."""

    async def started(self, session: AsyncSession, job: Job) -> None:
        """Nothing."""

    async def succeeded(self, session: AsyncSession, job: Job, result: Mapping[str, Any]) -> None:
        """Nothing."""

    async def failed(self, session: AsyncSession, job: Job) -> None:
        """Nothing."""

    async def cancelled(self, session: AsyncSession, job: Job) -> None:
        """Nothing."""

    async def requeued(self, session: AsyncSession, job: Job) -> None:
        """Nothing."""

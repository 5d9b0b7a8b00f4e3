"""The child of a worker: there when it is needed, renewed when it has grown, ended when it needs too much memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mistudio_jobs.child import ChildSettings
from mistudio_jobs.keeping import Kept
from mistudio_jobs.runner import Child
from mistudio_servicekit.errors import MistudioError

log = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.5
_MEMORY_SECONDS = 1.0
_IDLE_SHARE = 0.5


class Children:
    """A worker's children, one after the other.

    Args:
        settings: of each.
        memory_limit_bytes: resident memory at which one is killed; between jobs it is replaced at half of it, unless it
            keeps something. None for no limit.
        on_kept: called with what the present one keeps whenever that has changed.
    """

    def __init__(
        self, settings: ChildSettings, memory_limit_bytes: int | None, on_kept: Callable[[Kept], None]
    ) -> None:
        self.present: Child | None = None
        self._settings = settings
        self._memory_limit_bytes = memory_limit_bytes
        self._on_kept = on_kept

    async def idle(self) -> Child | None:
        """The child between two jobs, a new one where the last is dead or has grown too large; None if none starts."""
        if self.present is not None:
            if self.present.alive and not (self.present.replaceable and self._outgrown(self.present, _IDLE_SHARE)):
                return self.present
            await self.present.kill()
        try:
            self.present = await Child.start(self._settings, self._on_kept)
        except (MistudioError, OSError) as error:
            log.error("No job process could be started: %s", error)
            await asyncio.sleep(_PAUSE_SECONDS)
            return None
        return self.present

    async def guard_memory(self) -> None:
        """Kill the child when it grows past its limit, before the kernel kills something else; until cancelled."""
        while self._memory_limit_bytes is not None:
            if self.present is not None and self.present.alive and self._outgrown(self.present, 1.0):
                await self.present.kill_for_memory()
            await asyncio.sleep(_MEMORY_SECONDS)

    async def end(self) -> None:
        """Kill the child."""
        if self.present is not None:
            await self.present.kill()

    def _outgrown(self, child: Child, share: float) -> bool:
        limit = self._memory_limit_bytes
        return limit is not None and child.resident_bytes() > limit * share

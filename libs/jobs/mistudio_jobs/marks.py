"""Marking published rows of the outbox, a few at a time."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from mistudio_jobs import outbox
from mistudio_jobs.turns import Turns

log = logging.getLogger(__name__)

_MARK_SECONDS = 0.25


class Marks:
    """Rows of the outbox that this worker has published, marked a few at a time.

    Until it is marked the relay may publish a row again; the log drops it.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._ids: list[int] = []
        self._added = asyncio.Event()

    def add(self, ids: list[int]) -> None:
        """Note that these rows have been published."""
        self._ids += ids
        self._added.set()

    async def run(self) -> None:
        """Mark until cancelled."""
        while True:
            await self._added.wait()
            await asyncio.sleep(_MARK_SECONDS)
            self._added.clear()
            await self.flush()

    async def flush(self) -> None:
        """Mark what has been noted; what the database does not take now is left to the relay."""
        ids, self._ids = self._ids, []
        if not ids:
            return
        try:
            await outbox.mark_published(self._turns.alone(), ids)
        except (SQLAlchemyError, OSError) as error:
            log.warning("%s published rows stay unmarked: %s", len(ids), type(error).__name__)

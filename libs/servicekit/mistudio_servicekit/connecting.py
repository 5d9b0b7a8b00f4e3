"""Database connections that are made to their end, also for a caller who gives up."""

from __future__ import annotations

import asyncio
from typing import Any

from psycopg import AsyncConnection


class Connector:
    """Opens connections, and closes those that nobody waits for any more.

    Left to itself the driver forgets a connection whose making is cancelled: the server keeps its half for a minute,
    and whoever drops the database waits for that.
    """

    def __init__(self) -> None:
        self._opening: set[asyncio.Task[AsyncConnection[Any]]] = set()

    async def connect(self, *arguments: Any, **options: Any) -> AsyncConnection[Any]:
        """An open connection; takes what the driver's `AsyncConnection.connect` takes."""
        opening = asyncio.create_task(AsyncConnection.connect(*arguments, **options))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close)
            raise

    async def close(self) -> None:
        """Wait for what is still being opened; it is closed at once."""
        await asyncio.gather(*self._opening, return_exceptions=True)


def _close(opening: asyncio.Task[AsyncConnection[Any]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().pgconn.finish()

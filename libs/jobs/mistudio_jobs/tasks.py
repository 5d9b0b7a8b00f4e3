"""Ending background tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

_AGAIN_SECONDS = 0.2


async def cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait until they have ended; how they ended does not matter any more.

    `asyncio.wait_for` of Python 3.11, which libraries use, swallows a cancellation that comes together with its result:
    then it has to come again.
    """
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=_AGAIN_SECONDS)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asked for, or it would be logged as forgotten

"""Things that are started and stopped, as context managers for synchronous and asynchronous code alike."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Startable(ABC):
    """Something that runs between `start` and `stop`; `with` and `async with` do both.

    The work is done by threads and processes, never by the caller's event loop, so that a thing started in one loop
    (a fixture's) stays supervised while another one (a test's) runs.
    """

    @abstractmethod
    def start(self) -> None:
        """Bring it up and return once it is ready."""

    @abstractmethod
    def stop(self) -> None:
        """Bring it down, bounded in time. Harmless when it is down, or came up only in part."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

"""Queries over rows: a few at a time, each with a time limit, ended when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from mistudio_datasets.data.browsing.query_engine import QueryEngine, Stop
from mistudio_servicekit.errors import TimedOut

MOST_SECONDS = 60.0
_AT_ONCE = 4
_PRESS_SECONDS = 0.05
_END_SECONDS = 5.0
_COUNTS_KEPT = 1000

_Result = TypeVar("_Result")


class Scans:
    """The process's engine for queries over rows, and the counts that they made.

    Args:
        folder: the store's root; no query reads anything else.
        most_seconds: how long a query may take, waiting for its turn included.

    Attributes:
        engine: reads the files.
    """

    def __init__(self, folder: Path, most_seconds: float = MOST_SECONDS) -> None:
        self.engine = QueryEngine(folder)
        self._most_seconds = most_seconds
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="scan")
        self._running: dict[Future[Any], Stop] = {}
        self._counts: OrderedDict[Hashable, int] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every query: the process could not end while one runs. What hears of nothing for 5 s is left behind."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for running, stop in list(self._running.items()):
            _press(stop, running)
        await asyncio.to_thread(wait, list(self._running), _END_SECONDS)

    async def run(self, work: Callable[[Stop], _Result]) -> _Result:
        """What `work` returns, done in a thread; its queries are stopped with this call and at the time limit.

        Raises:
            TimedOut: it took too long.
        """
        stop = Stop()
        running = self._threads.submit(work, stop)
        self._running[running] = stop
        running.add_done_callback(self._running.pop)
        try:
            async with asyncio.timeout(self._most_seconds) as limit:
                return await asyncio.wrap_future(running)
        except TimeoutError:
            if not limit.expired():
                raise
            raise TimedOut(
                f"The search was stopped after {self._most_seconds:g} seconds",
                next_step="Search in fewer columns, add a filter, leave include_total off, or simplify query.regex",
            ) from None
        finally:
            _press(stop, running)

    def known_count(self, query: Hashable) -> int | None:
        """How many rows `query` finds, if it was counted lately."""
        if query in self._counts:
            self._counts.move_to_end(query)
        return self._counts.get(query)

    def remember_count(self, query: Hashable, count: int) -> None:
        """Keep what `query` finds, which never changes: it names the folder of a complete dataset."""
        self._counts[query] = count
        while len(self._counts) > _COUNTS_KEPT:
            self._counts.popitem(last=False)


def _press(stop: Stop, running: Future[_Result]) -> None:
    """Stop what runs, again and again: a query that is just about to begin does not hear of an interruption."""
    if not running.done():
        stop.stop()
        asyncio.get_running_loop().call_later(_PRESS_SECONDS, _press, stop, running)

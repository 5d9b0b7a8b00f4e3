import asyncio
import threading
from pathlib import Path
from time import perf_counter

import pytest

from mistudio_datasets.data.browsing.query_engine import Stop, Stopped
from mistudio_datasets.service.scans import Scans
from mistudio_servicekit.errors import TimedOut

ENDLESS = "SELECT i FROM range(1000000000000) AS t(i) WHERE regexp_matches(i::VARCHAR, 'x')"


class Watched:
    """An endless query, and how it ended."""

    def __init__(self, scans: Scans) -> None:
        self.begun, self.stopped = threading.Event(), threading.Event()
        self._scans = scans

    def __call__(self, stop: Stop) -> None:
        self.begun.set()
        try:
            self._scans.engine.table(ENDLESS, {}, stop)
        except Stopped:
            self.stopped.set()
            raise


async def test_a_query_is_stopped_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    async with Scans(tmp_path) as scans:
        work = Watched(scans)
        waiting = asyncio.create_task(scans.run(work))
        assert await asyncio.to_thread(work.begun.wait, 100)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(work.stopped.wait, 100)
        assert await scans.run(lambda stop: scans.engine.table("SELECT 1 AS one", {}, stop).num_rows) == 1


async def test_a_query_is_stopped_at_its_time_limit(tmp_path: Path) -> None:
    async with Scans(tmp_path, most_seconds=0.3) as scans:
        work = Watched(scans)
        start = perf_counter()
        with pytest.raises(TimedOut, match=r"after 0\.3 seconds.*fewer columns, add a filter"):
            await scans.run(work)
        assert perf_counter() - start < 60  # the work itself has no end
        assert await asyncio.to_thread(work.stopped.wait, 100)


async def test_a_query_that_waits_for_its_turn_is_given_up_as_well(tmp_path: Path) -> None:
    async with Scans(tmp_path, most_seconds=0.5) as scans:
        running = [asyncio.create_task(scans.run(Watched(scans))) for _ in range(20)]
        answers = await asyncio.gather(*running, return_exceptions=True)
        assert all(isinstance(answer, TimedOut) for answer in answers)


async def test_no_query_outlives_the_scans_or_begins_when_they_are_closed(tmp_path: Path) -> None:
    async with Scans(tmp_path) as scans:
        works = [Watched(scans) for _ in range(20)]
        tasks = [asyncio.create_task(scans.run(work)) for work in works]
        assert await asyncio.to_thread(works[0].begun.wait, 100)
        for task in tasks:
            task.cancel()
    assert all(work.stopped.is_set() for work in works if work.begun.is_set())
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_only_the_counts_used_last_are_kept(tmp_path: Path) -> None:
    async with Scans(tmp_path) as scans:
        for number in range(1000):
            scans.remember_count(number, number)
        assert scans.known_count(0) == 0
        scans.remember_count("one more", 5)
        assert (scans.known_count(0), scans.known_count(1), scans.known_count("one more")) == (0, None, 5)

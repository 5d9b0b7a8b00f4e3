"""Equal work asked for at the same time is done once."""

import asyncio

import pytest

from mistudio_servicekit.singleflight import SingleFlight


class _Work:
    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.runs = 0

    async def __call__(self) -> int:
        self.runs += 1
        await self.go_on.wait()
        return self.runs


async def test_callers_with_one_key_share_one_run() -> None:
    flight, work = SingleFlight[int](), _Work()
    callers = [asyncio.create_task(flight.do("key", work)) for _ in range(50)]
    await asyncio.sleep(0)
    work.go_on.set()
    assert await asyncio.gather(*callers) == [1] * 50
    assert work.runs == 1


async def test_a_later_caller_starts_afresh() -> None:
    flight, work = SingleFlight[int](), _Work()
    work.go_on.set()
    assert await flight.do("key", work) == 1
    assert await flight.do("key", work) == 2


async def test_a_caller_that_gives_up_does_not_stop_the_others() -> None:
    flight, work = SingleFlight[int](), _Work()
    first, second = (asyncio.create_task(flight.do("key", work)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    work.go_on.set()
    assert await second == 1
    assert first.cancelled()


async def test_an_error_is_everybodys() -> None:
    flight = SingleFlight[int]()

    async def fail() -> int:
        raise LookupError("gone")

    callers = [asyncio.create_task(flight.do("key", fail)) for _ in range(3)]
    for caller in callers:
        with pytest.raises(LookupError, match="gone"):
            await caller

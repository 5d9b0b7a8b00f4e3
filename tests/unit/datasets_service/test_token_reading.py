import asyncio
from threading import Event

import pytest

from mistudio_datasets.domain.progress import Check
from mistudio_datasets.service.token_reading import in_thread


async def test_work_ends_when_its_caller_is_cancelled() -> None:
    began, ended = Event(), Event()

    def work(check: Check) -> None:
        began.set()
        try:
            while True:
                check()
        finally:
            ended.set()

    task = asyncio.create_task(in_thread(work))
    assert await asyncio.to_thread(began.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(ended.wait, 20)

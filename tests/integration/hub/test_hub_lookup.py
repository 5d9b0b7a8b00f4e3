"""Questions about repositories that many callers ask at once, of a Hub that does not answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from mistudio_hub.lookup import HubLookup
from mistudio_hub.metadata import HubClient
from mistudio_servicekit.errors import HubUnavailable

ENDPOINT = "http://127.0.0.1:1"


@pytest.fixture
def answered() -> Iterator[threading.Event]:
    """Set when the Hub answers at last."""
    event = threading.Event()
    yield event
    event.set()


async def test_questions_without_an_answer_hold_up_nobody_who_reads_files(answered: threading.Event) -> None:
    def wait(client: HubClient, repo_id: str) -> bool:
        return answered.wait(60)

    async with HubLookup(ENDPOINT, wait) as lookup, asyncio.timeout(100):
        questions = [asyncio.create_task(lookup.find("", f"tiny/{number}")) for number in range(100)]
        for _ in range(100):
            await asyncio.to_thread(answered.is_set)
        answered.set()
        assert await asyncio.gather(*questions) == [True] * 100


async def test_a_question_that_got_no_turn_in_time_is_not_asked_any_more(answered: threading.Event) -> None:
    asked: list[str] = []

    def wait(client: HubClient, repo_id: str) -> None:
        asked.append(repo_id)
        answered.wait(60)

    async with HubLookup(ENDPOINT, wait, seconds=2.0) as lookup:
        questions = [lookup.find("", f"tiny/{number}") for number in range(100)]
        refused = await asyncio.gather(*questions, return_exceptions=True)
        assert {type(error) for error in refused} == {HubUnavailable}
        answered.set()
        await lookup.find("", "tiny/last")
    assert asked[-1] == "tiny/last"
    assert len(asked) < 100

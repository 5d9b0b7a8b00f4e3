"""Looking a model up on a Hub that does not answer as it should."""

from __future__ import annotations

import asyncio

import pytest

from mistudio_hub.lookup import HubLookup
from mistudio_models.service.hub_source import find_on_hub
from mistudio_servicekit.errors import HubUnavailable, MalformedFile


@pytest.fixture
async def silent_hub():
    """The address of something that takes requests and never answers."""
    ended = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ended.set()


async def test_a_hub_that_never_answers_is_given_up_in_time(silent_hub):
    with pytest.raises(HubUnavailable, match=r"'tiny/gpt' within 0\.2 seconds"):
        await HubLookup(silent_hub, find_on_hub, seconds=0.2).find("", "tiny/gpt", "")


async def test_a_hub_that_is_not_there_is_unavailable(silent_hub):
    with pytest.raises(HubUnavailable):
        await HubLookup("http://127.0.0.1:1", find_on_hub).find("", "tiny/gpt", "")


async def test_equal_questions_share_one_answer_and_one_error(hub):
    lookup = HubLookup(hub.mirror.url, find_on_hub)
    found = await asyncio.gather(*(lookup.find("", hub.gpt, "") for _ in range(20)))
    assert len({id(model) for model in found}) == 1
    refused = await asyncio.gather(*(lookup.find("", hub.damaged, "") for _ in range(20)), return_exceptions=True)
    assert {type(error) for error in refused} == {MalformedFile}


async def test_an_answer_is_not_shared_between_tokens(hub):
    lookup = HubLookup(hub.mirror.url, find_on_hub)
    tokens = [hub.ada_token, hub.bob_token, ""] * 5
    found = await asyncio.gather(*(lookup.find(token, hub.gated, "") for token in tokens))
    assert [model.access_problem is None for model in found] == [token == hub.ada_token for token in tokens]

"""Questions about repositories, for a service that answers many callers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, Generic, ParamSpec, Self, TypeVar

from mistudio_hub.metadata import HubClient
from mistudio_servicekit.errors import HubUnavailable
from mistudio_servicekit.singleflight import SingleFlight

LOOKUP_SECONDS = 30.0
_THREADS = 8

Details = ParamSpec("Details")
Answer = TypeVar("Answer")


class HubLookup(Generic[Details, Answer]):
    """Asks one Hub without blocking the event loop; equal questions at the same time are asked once.

    It has threads of its own: a Hub that does not answer holds up nobody who reads files.

    Args:
        endpoint: address of the Hub or of a mirror.
        ask: finds the answer about a repository, whose id it takes after the client.
        seconds: longest wait for all answers of one lookup.
    """

    def __init__(
        self,
        endpoint: str,
        ask: Callable[Concatenate[HubClient, str, Details], Answer],
        seconds: float = LOOKUP_SECONDS,
    ) -> None:
        self._endpoint, self._ask, self._seconds = endpoint, ask, seconds
        self._flights: SingleFlight[Answer] = SingleFlight()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="hub")

    async def find(self, token: str, repo_id: str, *details: Details.args, **named: Details.kwargs) -> Answer:
        """What `ask` finds with `token` (empty: none); only callers with the same token share it.

        Raises:
            HubUnavailable: the lookup took too long; and what `ask` raises.
        """
        question = (token, repo_id, details, tuple(named.items()))
        work = partial(self._find, token, repo_id, *details, **named)
        return await self._flights.do(question, lambda: self._in_time(repo_id, work))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_time(self, repo_id: str, work: Callable[[], Answer]) -> Answer:
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except TimeoutError:
            raise HubUnavailable(
                f"The Hub did not tell all about {repo_id!r} within {self._seconds:g} seconds",
                next_step="Try again later",
                field="repo_id",
            ) from None

    def _find(self, token: str, repo_id: str, *details: Details.args, **named: Details.kwargs) -> Answer:
        with HubClient(self._endpoint, token or None) as client:
            return self._ask(client, repo_id, *details, **named)

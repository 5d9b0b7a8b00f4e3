"""Asking the backends about a job whose owner is not known: all at once, and the one that knows it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc

from mistudio_gateway.backends import Backend
from mistudio_servicekit.errors import JobNotFound

Answer = TypeVar("Answer")
Ask = Callable[[Backend], Awaitable[Answer]]

AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
"""Statuses that say nothing about the job: the backend could not be asked."""


async def ask_owner(backends: Collection[Backend], job_id: str, ask: Ask[Answer]) -> Answer:
    """The answer of the backend that knows the job.

    Args:
        backends: all that may know it.
        job_id: the job, for texts.
        ask: the question, put to each backend.

    Raises:
        JobNotFound: all backends have answered, and none knows it.
        Unavailable: none knows it, but one could not be asked.
        grpc.aio.AioRpcError: what the backend that knows it refuses with.
    """
    away: list[Backend] = []
    async with _asking(backends, ask) as answers:
        async for backend, answer in answers:
            error = answer.exception()
            if error is None:
                return answer.result()
            if not isinstance(error, grpc.aio.AioRpcError):
                raise error
            if error.code() in AWAY:
                away.append(backend)
            elif error.code() is not grpc.StatusCode.NOT_FOUND:
                raise error
    if away:
        raise away[0].unavailable(f"cannot be reached, and no other service knows the job {job_id!r}")
    raise JobNotFound.of(job_id)


@asynccontextmanager
async def _asking(
    backends: Collection[Backend], ask: Ask[Answer]
) -> AsyncIterator[AsyncIterator[tuple[Backend, asyncio.Future[Answer]]]]:
    """The answers as they come; what is still being asked when the block ends is given up."""
    asked = {asyncio.ensure_future(ask(backend)): backend for backend in backends}

    async def answers() -> AsyncIterator[tuple[Backend, asyncio.Future[Answer]]]:
        open_calls = set(asked)
        while open_calls:
            done, open_calls = await asyncio.wait(open_calls, return_when=asyncio.FIRST_COMPLETED)
            for call in done:
                yield asked[call], call

    try:
        yield answers()
    finally:
        for call in asked:
            call.cancel()
        await asyncio.gather(*asked, return_exceptions=True)

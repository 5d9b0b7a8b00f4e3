"""Watches that outlive their connection: cut, drained or silent, they go on where they were, at any gateway."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

import grpc

from mistudio.jobs.v1 import jobs_service_pb2
from mistudio_client.errors import ErrorDetails, MistudioCallError
from mistudio_client.jobs import ENDED_STATES

DEFAULT_HEARTBEAT_SECONDS = 10
# A stream is begun anew at the latest after this long, so that no call is without a deadline.
STREAM_SECONDS = 3600.0
_SILENT_HEARTBEATS = 2.5
PATIENCE_SECONDS = 300.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 5.0

# How connections end when nobody has worded why: cut, reset, proxied, too old.
CUT_CODES = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
_RESUMABLE_REASONS = frozenset({"SLOW_READER", "TIMED_OUT"})

AnyResponse: TypeAlias = jobs_service_pb2.WatchJobResponse | jobs_service_pb2.WatchJobsResponse
Response = TypeVar("Response", jobs_service_pb2.WatchJobResponse, jobs_service_pb2.WatchJobsResponse)
OpenStream: TypeAlias = Callable[[str], grpc.aio.UnaryStreamCall[Any, Response]]


@dataclass(frozen=True)
class WatchSettings:
    """How a watch is kept up.

    Attributes:
        target: the gateways, for texts.
        ends: whether the watch ends by itself, as that of one job does.
        heartbeat_seconds: time between signs of life that the stream was asked for.
        patience_seconds: how long no gateway may answer before the watch gives up.
    """

    target: str
    ends: bool
    heartbeat_seconds: float = DEFAULT_HEARTBEAT_SECONDS
    patience_seconds: float = PATIENCE_SECONDS


class Watch(AsyncIterator[Response], Generic[Response]):
    """Everything a watch has to tell, each thing once, whatever happens to the connection.

    Yields the responses that carry a snapshot, an event or the end of the snapshots; bookmarks only move
    `resume_token` on. Close it (`aclose`, or `contextlib.aclosing`) when it is left before its end.

    Attributes:
        resume_token: continues exactly behind the last thing that was yielded, in this or another process.

    Raises, while iterating:
        HistoryCompacted: the events after the resume token are no longer kept.
        LogReplaced: the event log was begun anew.
        MistudioCallError: any other refusal, or no gateway answered for `patience_seconds`.
    """

    def __init__(self, open_stream: OpenStream[Response], settings: WatchSettings, resume_token: str = "") -> None:
        self.resume_token = resume_token
        self._open_stream: OpenStream[Response] = open_stream
        self._settings = settings
        self._last_heard = time.monotonic()
        self._pause = FIRST_PAUSE_SECONDS
        self._updates: AsyncGenerator[Response, None] = self._resumed()

    def __aiter__(self) -> Watch[Response]:
        return self

    async def __anext__(self) -> Response:
        return await anext(self._updates)

    async def aclose(self) -> None:
        """End the watch and its connection's stream."""
        await self._updates.aclose()

    async def _resumed(self) -> AsyncGenerator[Response, None]:
        """The responses of as many streams as it takes."""
        self._last_heard = time.monotonic()
        while True:
            try:
                async with aclosing(self._stream()) as stream:
                    async for response in stream:
                        yield response
                        if self._settings.ends and _tells_the_end(response):
                            return
            except MistudioCallError as error:
                if not self._may_resume(error):
                    raise
                await self._rest(error.retry_after or 0.0)
            else:
                if self._settings.ends:
                    return
                await self._rest(0.0)

    async def _stream(self) -> AsyncGenerator[Response, None]:
        """The responses of one stream. Those before the first resume token are held until it comes: cut before it,
        they would be sent again.
        """
        call = self._open_stream(self.resume_token)
        held: list[Response] = []
        try:
            while (response := await self._read(call)) is not None:
                if response.WhichOneof("body") != "bookmark":
                    held.append(response)
                if response.resume_token:
                    for earlier in held[:-1]:
                        yield earlier
                    self.resume_token = response.resume_token
                    if held:
                        yield held.pop()
                    held.clear()
        finally:
            call.cancel()

    async def _read(self, call: grpc.aio.UnaryStreamCall[Any, Response]) -> Response | None:
        """The next response, or None at the end of the stream."""
        try:
            async with asyncio.timeout(_SILENT_HEARTBEATS * self._settings.heartbeat_seconds):
                response = await call.read()
        except TimeoutError:
            raise self._silence() from None
        except grpc.aio.AioRpcError as failure:
            raise MistudioCallError.of(failure, self._settings.target) from None
        self._last_heard = time.monotonic()
        self._pause = FIRST_PAUSE_SECONDS
        return None if response is grpc.aio.EOF else cast(Response, response)

    def _silence(self) -> MistudioCallError:
        seconds = _SILENT_HEARTBEATS * self._settings.heartbeat_seconds
        return MistudioCallError(
            grpc.StatusCode.UNAVAILABLE,
            f"The gateway {self._settings.target} sent no sign of life for {seconds:.0f} s. Look at its health.",
            ErrorDetails(),
        )

    def _may_resume(self, error: MistudioCallError) -> bool:
        if time.monotonic() - self._last_heard > self._settings.patience_seconds:
            return False
        if error.reason:
            return error.code is grpc.StatusCode.UNAVAILABLE or error.reason in _RESUMABLE_REASONS
        return error.code in CUT_CODES

    async def _rest(self, at_least: float) -> None:
        """Pause before the next stream; longer each time, and never as long as other clients do."""
        await asyncio.sleep(max(at_least, self._pause * random.uniform(0.5, 1.0)))  # noqa: S311  # spreads load, no secret
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)


def _tells_the_end(response: AnyResponse) -> bool:
    """Whether the job that the response is about has ended with it."""
    if response.HasField("snapshot"):
        return response.snapshot.state in ENDED_STATES
    return response.HasField("event") and response.event.state_changed.state in ENDED_STATES

"""A worker's ear: the doorbells of its pool, one at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.errors import APIError

from mistudio_jobs import streams

log = logging.getLogger(__name__)

_CHECK_AFTER = 5
_PAUSE_SECONDS = 0.2


class Doorbells:
    """Fetches the pool's doorbells, and puts the stream or consumer back up when the server has lost it.

    Args:
        js: a connection.
        service: whose doorbells.
        pool: which pool's.
        wait: seconds that one fetch waits.
        declare: declares streams and consumers.
    """

    def __init__(
        self, js: JetStreamContext, service: str, pool: str, wait: float, declare: Callable[[], Awaitable[None]]
    ) -> None:
        self._js = js
        self._stream = streams.jobs_stream(service)
        self._consumer = streams.pool_consumer(pool)
        self._wait = wait
        self._declare = declare
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._empty = 0

    async def next(self) -> Msg | None:
        """The next doorbell; None when there was none for a while, or the server is away."""
        try:
            if self._subscription is None:
                await self._declare()
                self._subscription = await self._js.pull_subscribe_bind(self._consumer, stream=self._stream)
            (message,) = await self._subscription.fetch(1, timeout=self._wait)
        except (TimeoutError, NatsTimeout):
            await self._check()
            return None
        except (NatsError, OSError) as error:
            log.warning("Doorbells of %s cannot be heard: %s", self._consumer, error)
            await self._subscribe_again()
            return None
        self._empty = 0
        return message

    async def close(self) -> None:
        """Stop listening; a doorbell that still comes rings at another worker later."""
        await self._drop()

    async def _check(self) -> None:
        """A deleted consumer or a new leader looks like silence: after some of it, ask."""
        self._empty += 1
        if self._empty % _CHECK_AFTER == 0:
            try:
                await self._js.consumer_info(self._stream, self._consumer)
            except (TimeoutError, APIError, NatsError) as error:
                log.warning("Consumer %s does not answer: %s", self._consumer, error)
                await self._subscribe_again()

    async def _subscribe_again(self) -> None:
        await self._drop()
        await asyncio.sleep(_PAUSE_SECONDS)

    async def _drop(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            try:
                await subscription.unsubscribe()
            except NatsError:
                return

"""A durable ear: the messages of one consumer, one at a time, whatever becomes of the server meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.errors import APIError

log = logging.getLogger(__name__)

_CHECK_AFTER = 5
_PAUSE_SECONDS = 0.2


class Listener:
    """Fetches a consumer's messages, and puts stream or consumer back up when the server has lost it.

    Args:
        js: a connection.
        stream: name of the stream.
        consumer: name of its durable consumer.
        wait: seconds that one fetch waits.
        declare: declares both; called before the first message, and after every loss.
    """

    def __init__(
        self, js: JetStreamContext, stream: str, consumer: str, wait: float, declare: Callable[[], Awaitable[None]]
    ) -> None:
        self._js = js
        self._stream = stream
        self._consumer = consumer
        self._wait = wait
        self._declare = declare
        self._subscription: JetStreamContext.PullSubscription | None = None
        self._empty = 0

    async def next(self) -> Msg | None:
        """The next message; None when there was none for a while, or the server is away."""
        try:
            if self._subscription is None:
                await self._declare()
                self._subscription = await self._js.pull_subscribe_bind(self._consumer, stream=self._stream)
            (message,) = await self._subscription.fetch(1, timeout=self._wait)
        except (TimeoutError, NatsTimeout):
            await self._check()
            return None
        except (NatsError, OSError) as error:
            log.warning("Consumer %s cannot be heard: %s", self._consumer, error)
            await self._subscribe_again()
            return None
        self._empty = 0
        return message

    async def close(self) -> None:
        """Stop listening; a message that still comes is told to another listener later."""
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

"""A worker's ear: the doorbells of its pool, one at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.js import JetStreamContext

from mistudio_jobs import streams
from mistudio_jobs.listening import Listener


class Doorbells(Listener):
    """Hears the pool's doorbells; one that is not answered rings at another worker later.

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
        super().__init__(js, streams.jobs_stream(service), streams.pool_consumer(pool), wait, declare)

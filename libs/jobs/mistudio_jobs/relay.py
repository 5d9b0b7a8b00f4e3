"""The relay: publishes what transactions have left in the outbox, one relay per service at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import NoStreamResponseError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from mistudio_jobs import events, outbox
from mistudio_jobs.outbox import Message
from mistudio_jobs.publishing import PublishError, publish_message
from mistudio_jobs.timing import Timing
from mistudio_jobs.turns import Turn, committing
from mistudio_servicekit.database import Database

log = logging.getLogger(__name__)

_BATCH = 256
_TRY_LOCK = text("SELECT pg_try_advisory_lock(hashtext('outbox relay'), hashtext(current_schema()))")


class Relay:
    """Publishes the outbox of one service.

    Args:
        database: where the outbox is.
        nats: a connection.
        service: whose outbox.
        timing: its periods.
        declare: makes the streams anew when the server has lost them.
    """

    def __init__(
        self,
        database: Database,
        nats: Client,
        service: str,
        timing: Timing,
        declare: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._nats = nats
        self._service = service
        self._timing = timing
        self._declare = declare
        self._nudged = asyncio.Event()
        self._leads = False

    async def nudge(self) -> None:
        """Tell whichever relay is at work that there are new rows."""
        self._nudged.set()
        if not self._leads and self._nats.is_connected:
            await self._nats.publish(events.relay_subject(self._service))

    async def run(self) -> None:
        """Publish until cancelled, whenever no other relay of the service does."""
        await self._nats.subscribe(events.relay_subject(self._service), cb=self._on_nudge)
        while True:
            try:
                await self._lead()
            except (SQLAlchemyError, OSError) as error:
                log.warning("The relay lost the database: %s", type(error).__name__)
            finally:
                self._leads = False
            await asyncio.sleep(self._timing.relay_poll)

    async def _on_nudge(self, message: Msg) -> None:
        self._nudged.set()

    async def _lead(self) -> None:
        """Publish while this connection has the lock: losing it, the relay loses the lock and reads no more rows."""
        async with self._database.engine.connect() as plain:
            connection = await plain.execution_options(isolation_level="AUTOCOMMIT")
            self._leads = bool(await connection.scalar(_TRY_LOCK))
            try:
                while self._leads:
                    self._nudged.clear()
                    if not await self._publish_batch(connection):
                        await self._wait()
            finally:
                # The lock belongs to the connection: it must not go back to the pool with it.
                await connection.invalidate()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.relay_poll):
                await self._nudged.wait()

    async def _publish_batch(self, connection: AsyncConnection) -> bool:
        """Publish a batch; whether there may be more at once."""
        turn = committing(connection)
        messages = await outbox.ready(turn, _BATCH)
        if not messages:
            return False
        # Events are marked before doorbells ring: a worker that finds them unmarked has to publish them again.
        published = await self._publish(turn, [message for message in messages if message.is_event])
        published += await self._publish(turn, [message for message in messages if not message.is_event])
        return published == _BATCH

    async def _publish(self, turn: Turn, messages: Sequence[Message]) -> int:
        """Publish each job's messages in order, and jobs side by side; how many got through."""
        results = await asyncio.gather(*(self._publish_in_order(line) for line in _lines(messages)))
        published = [identifier for result in results for identifier in result]
        if published:
            await outbox.mark_published(turn, published)
        return len(published)

    async def _publish_in_order(self, line: Iterable[Message]) -> list[int]:
        js, published = self._nats.jetstream(), []
        try:
            for message in line:
                await publish_message(js, message, self._timing.publish)
                published.append(message.id)
        except NoStreamResponseError:
            await self._declare_again()
        except PublishError as error:
            log.warning("The relay waits for NATS: %s", repr(error))
        return published

    async def _declare_again(self) -> None:
        try:
            await self._declare()
        except PublishError as error:
            log.warning("The streams cannot be declared yet: %s", repr(error))


def _lines(messages: Sequence[Message]) -> Iterable[list[Message]]:
    lines: dict[UUID, list[Message]] = defaultdict(list)
    for message in messages:
        lines[message.job_id].append(message)
    return lines.values()

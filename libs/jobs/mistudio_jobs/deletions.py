"""How a service hears of another one's deletions: each for certain, and by asking where the event log was lost.

`JobEngine.tell_deleted` tells them. What is heard is only ever that a resource is gone, so hearing it twice does no
harm. Any number of replicas share one durable consumer, whose place in the log the server keeps.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from nats.aio.client import Client
from nats.aio.msg import Msg
from sqlalchemy.exc import SQLAlchemyError

from mistudio_jobs import events, streams, tasks
from mistudio_jobs.listening import Listener
from mistudio_servicekit.errors import MistudioError

log = logging.getLogger(__name__)

_WAIT_SECONDS = 3.0
_RECONCILE_SECONDS = 600.0
_RETRY_SECONDS = 2.0
_SUBJECT_PARTS = 4

_PASSING = (MistudioError, SQLAlchemyError, OSError)
"""What mending may fail with for a while: the other service or the database is away."""


class Mending(Protocol):
    """What a service does about the deletions of another one. Repeating either method does no harm."""

    async def deleted(self, resource_id: UUID, at: datetime) -> None:
        """The other service has deleted a resource at this time; it is told again unless this returns."""

    async def reconcile(self) -> None:
        """Ask the other service which of the resources that are referred to here are still there, and mend the rest.

        Called at the start, after every loss of the connection or the log, and every ten minutes: what was lost with
        the log, or was referred to just while it was being deleted, is made up.
        """


@asynccontextmanager
async def hearing_deletions(nats_url: str, hearer: str, service: str, mending: Mending) -> AsyncIterator[None]:
    """Hears of deletions until the block is left, whatever becomes of NATS, the database and the other service.

    Args:
        nats_url: the NATS server; it need not be there yet.
        hearer: the service that hears; all its replicas share one place in the log.
        service: the service that deletes.
        mending: what is done about it.
    """
    listening = asyncio.create_task(_listen(nats_url, hearer, service, mending), name=f"deletions of {service}")
    try:
        yield
    finally:
        await tasks.cancel([listening])


async def _listen(nats_url: str, hearer: str, service: str, mending: Mending) -> None:
    client = await streams.connect(nats_url, f"{hearer} hears deletions of {service}")
    try:
        await _Hearing(client, hearer, service, mending).run()
    finally:
        await client.close()


class _Hearing:
    def __init__(self, client: Client, hearer: str, service: str, mending: Mending) -> None:
        self._client = client
        self._js = client.jetstream()
        self._consumer = f"{hearer}_hears_{service}_deletions"
        self._service = service
        self._mending = mending
        self._reconcile_at = 0.0
        self._connections = 0

    async def run(self) -> None:
        """Hear and mend until cancelled."""
        listener = Listener(self._js, streams.EVENTS, self._consumer, _WAIT_SECONDS, self._declare)
        while True:
            try:
                await self._turn(listener)
            except Exception:  # it outlives every fault: without it no deletion would be heard of any more
                log.exception("Deletions of %s could not be heard", self._service)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _turn(self, listener: Listener) -> None:
        message = await listener.next()
        if message is not None:
            await self._take(message)
        if self._client.stats["reconnects"] != self._connections:
            # The server may have come back without the log.
            self._connections = self._client.stats["reconnects"]
            await listener.close()
        elif time.monotonic() >= self._reconcile_at:
            await self._reconcile()

    async def _declare(self) -> None:
        await streams.declare_events(self._js)
        await streams.declare_hearing(self._js, self._consumer, events.deleted_subject(self._service, "*"))
        # Only now: what is deleted from here on is heard, what was before is asked for.
        await self._reconcile()

    async def _take(self, message: Msg) -> None:
        """Mend, then acknowledge; what fails is told again after a while."""
        try:
            resource_id, at = _read(message)
        except ValueError:
            log.error("No deletion: %s %r", message.subject, message.data[:100])
            await message.term()
            return
        try:
            await self._mending.deleted(resource_id, at)
        except _PASSING as error:
            log.warning("Deletion of %s is not mended yet: %s", resource_id, repr(error))
            await message.nak(delay=_RETRY_SECONDS)
        else:
            await message.ack()

    async def _reconcile(self) -> None:
        wait = _RECONCILE_SECONDS
        try:
            await self._mending.reconcile()
        except _PASSING as error:
            log.warning("What %s still has is asked again: %s", self._service, repr(error))
            wait = _RETRY_SECONDS
        self._reconcile_at = time.monotonic() + wait


def _read(message: Msg) -> tuple[UUID, datetime]:
    """Which resource was deleted, and when.

    Raises:
        ValueError: the message says something else.
    """
    parts = message.subject.split(".")
    if len(parts) != _SUBJECT_PARTS:
        raise ValueError(message.subject)
    return UUID(parts[2]), datetime.fromisoformat(message.data.decode())

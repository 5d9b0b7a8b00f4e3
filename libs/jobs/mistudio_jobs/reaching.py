"""Who can be reached: a worker whose process has died is found out at once, not when it has been silent for long.

A worker hears its commands on a subject of its own. With its process goes its connection, with that its subscription,
and the NATS server says at once that nobody hears what is sent there. No worker has to answer anything for that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import datetime

from nats.aio.client import NO_RESPONDERS_STATUS, Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import Header

from mistudio_jobs import events
from mistudio_jobs.presence import WorkerInfo

log = logging.getLogger(__name__)

ARE_YOU_THERE = b""
"""What a worker need not answer: that it is heard at all tells enough."""

_SERVER_SECONDS = 1.0
_RECONNECT_SECONDS = 0.5
"""What a worker that has lost its connection takes to have a new one."""


async def deaf(nats: Client, service: str, workers: Collection[str]) -> frozenset[str]:
    """Those of the named `workers` that hear nothing. One round trip to the server, however many they are.

    Nobody is called deaf while the server cannot be asked.
    """
    if not workers or not nats.is_connected:
        return frozenset()
    names, inbox = list(workers), nats.new_inbox()
    try:
        ear = await nats.subscribe(f"{inbox}.*")
        try:
            for number, name in enumerate(names):
                await nats.publish(events.worker_subject(service, name), ARE_YOU_THERE, reply=f"{inbox}.{number}")
            # The server works in order: when this is back, so is everything that it had to say before.
            await nats.publish(f"{inbox}.end")
            async with asyncio.timeout(_SERVER_SECONDS):
                return frozenset(names[number] for number in await _unheard(ear))
        finally:
            await ear.unsubscribe()
    except (TimeoutError, NatsError, OSError) as error:
        log.warning("Whether workers can be reached is not known: %s", repr(error))
        return frozenset()


async def _unheard(ear: Subscription) -> set[int]:
    """The numbers of the messages that nobody heard."""
    numbers = set()
    while (last := (message := await ear.next_msg(timeout=None)).subject.rpartition(".")[2]) != "end":
        if _tells_of_nobody(message):
            numbers.add(int(last))
    return numbers


def _tells_of_nobody(message: Msg) -> bool:
    return message.headers is not None and message.headers.get(Header.STATUS) == NO_RESPONDERS_STATUS


class Reach:
    """Leaves out of the workers that were heard of lately those that cannot be reached any more.

    Args:
        nats: the service's connection.
        service: whose workers.
    """

    def __init__(self, nats: Client, service: str) -> None:
        self._nats = nats
        self._service = service
        self._lost: dict[str, datetime] = {}

    async def reached(self, workers: Sequence[WorkerInfo]) -> Sequence[WorkerInfo]:
        """Those of all the service's `workers` that are there.

        One that is just connecting again is given the time for it. One that was found lost stays so until it is heard
        of again, so that only the first caller after a death has to wait.
        """
        lost = {worker.name: worker.seen_at for worker in workers if self._lost.get(worker.name) == worker.seen_at}
        asked = [worker for worker in workers if worker.name not in lost]
        silent = await deaf(self._nats, self._service, [worker.name for worker in asked])
        if silent:
            await asyncio.sleep(_RECONNECT_SECONDS)
            silent = await deaf(self._nats, self._service, silent)
        self._lost = lost | {worker.name: worker.seen_at for worker in asked if worker.name in silent}
        return [worker for worker in asked if worker.name not in silent]

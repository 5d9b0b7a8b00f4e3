"""The event log: what it holds, and reading it from a position on."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from mistudio_jobs.streams import EVENTS, connect, declare_events
from mistudio_servicekit.errors import Unavailable

log = logging.getLogger(__name__)

ALL_EVENTS = "evt.>"

_API_SECONDS = 3.0
_HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 2.5 * _HEARTBEAT_SECONDS
_BATCH = 512
_PULL_SECONDS = 60.0
_FORGOTTEN_SECONDS = 30.0
_HEARTBEAT_STATUS, _NO_MESSAGES, _PULL_EXPIRED = "100", "404", "408"


class ReaderLost(Exception):
    """The reader's consumer is gone or silent; open another one and read on from the last sequence."""


@dataclass(frozen=True)
class LogState:
    """What the log holds just now.

    Attributes:
        identity: 8 bytes that no other log has, also none that replaces this one.
        first: sequence of the oldest event it may hold.
        last: sequence of the newest event; `first - 1` when it is empty.
    """

    identity: bytes
    first: int
    last: int


@dataclass(frozen=True)
class LogMessage:
    """One message of the log: its sequence, its bytes, and how many matching ones wait behind it."""

    sequence: int
    data: bytes
    pending: int


class EventLog:
    """The stream of job events.

    Args:
        url: of NATS; several joined by commas.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None

    async def connect(self) -> None:
        """Wait until NATS answers for the first time; from then on the connection heals itself."""
        self._client = await connect(self._url, "gateway")

    async def close(self) -> None:
        """Close the connection."""
        if self._client:
            await self._client.close()

    async def state(self) -> LogState:
        """What the log holds; it is made where it does not exist yet.

        Raises:
            Unavailable: NATS or its JetStream cannot be reached.
        """
        with reaching():
            js = self._jetstream()
            try:
                info = await js.stream_info(EVENTS)
            except NotFoundError:
                await declare_events(js)
                info = await js.stream_info(EVENTS)
        identity = hashlib.sha256(f"{EVENTS} {info.created}".encode()).digest()[:8]
        return LogState(identity, info.state.first_seq, info.state.last_seq)

    @asynccontextmanager
    async def reader(self, subject: str, after: int) -> AsyncIterator[LogReader]:
        """A reader of the messages on `subject` whose sequence is above `after`, over a consumer of its own.

        Raises:
            Unavailable: NATS or its JetStream cannot be reached.
        """
        config = ConsumerConfig(
            filter_subject=subject,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_FORGOTTEN_SECONDS,
            mem_storage=True,
            num_replicas=1,
        )
        with reaching():
            js = self._jetstream()
            info = await js.add_consumer(EVENTS, config)
        reader = LogReader(self._connected(), info.name, info.num_pending or 0)
        try:
            with reaching():
                await reader.open()
            yield reader
        finally:
            with suppress(nats.errors.Error):
                await reader.close()
                await js.delete_consumer(EVENTS, info.name)

    def check(self) -> None:
        """Raise `Unavailable` unless NATS is connected."""
        if self._client is None or not self._client.is_connected:
            raise log_unavailable()

    def _connected(self) -> Client:
        if self._client is None:
            raise log_unavailable()
        return self._client

    def _jetstream(self) -> JetStreamContext:
        return self._connected().jetstream(timeout=_API_SECONDS)


class LogReader:
    """Pulls messages in order from a consumer without acknowledgements.

    Attributes:
        pending: how many matching messages the log held when the reader was made.
    """

    def __init__(self, client: Client, consumer: str, pending: int) -> None:
        self.pending = pending
        self._client = client
        self._pull = f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS}.{consumer}"
        self._inbox = client.new_inbox()
        self._messages: list[LogMessage] = []
        self._arrived = asyncio.Event()
        self._asked = 0
        self._lost = ""

    async def open(self) -> None:
        """Begin to listen."""
        self._subscription = await self._client.subscribe(self._inbox, cb=self._take)

    async def close(self) -> None:
        """Stop listening."""
        await self._subscription.unsubscribe()

    async def read(self) -> list[LogMessage]:
        """The next messages, in order; none when the log says that there is nothing new for now.

        Raises:
            ReaderLost: the consumer is gone or silent.
        """
        if self._asked <= _BATCH // 2:
            await self._ask()
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                await self._arrived.wait()
        except TimeoutError:
            raise ReaderLost(f"nothing heard for {_SILENCE_SECONDS} s") from None
        self._arrived.clear()
        messages, self._messages = self._messages, []
        if self._lost and not messages:
            raise ReaderLost(self._lost)
        return messages

    async def _ask(self) -> None:
        wish = {"batch": _BATCH, "expires": _nanos(_PULL_SECONDS), "idle_heartbeat": _nanos(_HEARTBEAT_SECONDS)}
        self._asked += _BATCH
        await self._client.publish(self._pull, json.dumps(wish).encode(), reply=self._inbox)

    async def _take(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status", "")
        if status:
            self._note(status, message)
        else:
            place = message.metadata
            self._asked -= 1
            self._messages.append(LogMessage(place.sequence.stream, message.data, place.num_pending))
        self._arrived.set()

    def _note(self, status: str, message: Msg) -> None:
        headers = message.headers or {}
        if status in (_NO_MESSAGES, _PULL_EXPIRED):
            self._asked -= int(headers.get("Nats-Pending-Messages", self._asked))
        elif status != _HEARTBEAT_STATUS:
            self._lost = f"{status} {headers.get('Description', '')}"


def _nanos(seconds: float) -> int:
    return int(seconds * 1e9)


@contextmanager
def reaching() -> Iterator[None]:
    """Turns the NATS client's errors into `Unavailable`."""
    try:
        yield
    except (nats.errors.Error, TimeoutError) as error:
        log.warning("event log unreachable", extra={"cause": repr(error)})
        raise log_unavailable() from error


def log_unavailable() -> Unavailable:
    """The error for an event log that cannot be read just now."""
    return Unavailable(
        "The event log cannot be reached",
        next_step="Try again in a few seconds",
        retry_after_seconds=2,
        metadata={"backend": "nats"},
    )

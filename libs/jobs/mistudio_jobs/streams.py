"""The engine's JetStream streams and consumers, and connections with the defaults that keep them alive."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from uuid import UUID

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError

log = logging.getLogger(__name__)

EVENTS = "EVENTS"
"""Stream of everything that happens: to jobs, `evt.<service>.<job>.{state,progress,metric}`, and to resources,
`evt.<service>.<resource>.deleted`.
"""

_DAY = 24 * 3600
_EVENTS_BYTES = 4 * 2**30
_HEARING_ACK_SECONDS = 30.0
_WRONG_LAST_SEQUENCE = 10071
_SUBJECT_FULL = 10077


async def connect(url: str, name: str) -> Client:
    """A connection that never gives up; it waits until a first server answers.

    Args:
        url: `nats://host:port`, several joined by commas.
        name: shown in the server's list of connections.
    """
    return await nats.connect(
        url.split(","),
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
        ping_interval=5,
        connect_timeout=2,
        error_cb=_connection_error,
    )


async def _connection_error(error: Exception) -> None:
    log.warning("NATS connection: %s", repr(error))


def jobs_stream(service: str) -> str:
    """Name of the stream that holds a service's doorbells."""
    return f"JOBS_{service}"


def pool_consumer(pool: str) -> str:
    """Name of the durable consumer that the workers of `pool` share."""
    return f"pool_{pool}"


async def declare_events(js: JetStreamContext, replicas: int = 1) -> None:
    """Make the event log, or bring its settings up to date."""
    await _declare(
        js,
        api.StreamConfig(
            name=EVENTS,
            subjects=["evt.>"],
            retention=api.RetentionPolicy.LIMITS,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.OLD,
            max_age=30 * _DAY,
            max_bytes=_EVENTS_BYTES,
            duplicate_window=3600,
            allow_direct=True,
            num_replicas=replicas,
        ),
    )


async def declare_jobs(
    js: JetStreamContext, service: str, pools: Sequence[str], ack_wait: float = 15.0, replicas: int = 1
) -> None:
    """Make a service's doorbell stream and the consumer of each of its pools, or bring their settings up to date.

    Args:
        js: where.
        service: whose doorbells.
        pools: its worker pools.
        ack_wait: seconds after which a doorbell that no worker answers for rings at another.
        replicas: copies of the stream in a cluster.
    """
    await _declare(
        js,
        api.StreamConfig(
            name=jobs_stream(service),
            subjects=[f"jobs.{service}.>"],
            retention=api.RetentionPolicy.WORK_QUEUE,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            discard_new_per_subject=True,
            max_msgs_per_subject=1,
            allow_direct=True,
            num_replicas=replicas,
        ),
    )
    for pool in pools:
        await js.add_consumer(jobs_stream(service), _pool_config(service, pool, ack_wait))


def _pool_config(service: str, pool: str, ack_wait: float) -> api.ConsumerConfig:
    return api.ConsumerConfig(
        durable_name=pool_consumer(pool),
        filter_subject=f"jobs.{service}.{pool}.*",
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=ack_wait,
        max_deliver=-1,
        max_ack_pending=10_000,
    )


async def declare_hearing(js: JetStreamContext, consumer: str, subject: str) -> None:
    """Make a durable consumer of what the event log tells on `subject`, from its beginning on."""
    config = api.ConsumerConfig(
        durable_name=consumer,
        filter_subject=subject,
        deliver_policy=api.DeliverPolicy.ALL,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=_HEARING_ACK_SECONDS,
        max_deliver=-1,
    )
    await js.add_consumer(EVENTS, config)


async def _declare(js: JetStreamContext, config: api.StreamConfig) -> None:
    try:
        await js.stream_info(str(config.name))
    except NotFoundError:
        await js.add_stream(config)
    else:
        await js.update_stream(config)


async def doorbells(js: JetStreamContext, service: str) -> set[UUID]:
    """Jobs of a service whose doorbell rings, or is being answered.

    Raises:
        nats.errors.Error: the server does not answer.
    """
    try:
        info = await js.stream_info(jobs_stream(service), subjects_filter=f"jobs.{service}.>")
    except NotFoundError:
        return set()
    return {UUID(subject.rpartition(".")[2]) for subject in info.state.subjects or {}}


def already_queued(error: APIError) -> bool:
    """Whether the server refused a doorbell because the job has one already."""
    full = isinstance(error, BadRequestError | ServiceUnavailableError)
    return full and error.err_code in (_WRONG_LAST_SEQUENCE, _SUBJECT_FULL)


def wrong_sequence(error: APIError) -> bool:
    """Whether the server refused an event because another came in between."""
    return error.err_code == _WRONG_LAST_SEQUENCE

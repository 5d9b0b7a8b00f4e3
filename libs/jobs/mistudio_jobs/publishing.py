"""Publishing to the event log so that it stays clean: a job's events in order, none twice, none from a zombie."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError

from mistudio.jobs.v1 import job_pb2 as pb
from mistudio_jobs import events, streams
from mistudio_jobs.outbox import Message
from mistudio_jobs.tables import Job

log = logging.getLogger(__name__)

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"

PublishError = (NatsError, asyncio.TimeoutError, OSError)
"""What a publication may raise while the server is away; the outbox or a later report makes up for it."""


async def publish_message(js: JetStreamContext, message: Message, timeout: float) -> int:
    """Publish one row of the outbox; the log drops what it has already.

    Returns:
        its position in its stream; 0 for a doorbell that was there.

    Raises:
        PublishError: the server did not acknowledge it.
    """
    headers = {api.Header.MSG_ID.value: message.msg_id}
    try:
        payload = events.encoded(message.payload)
        return (await js.publish(message.subject, payload, timeout=timeout, headers=headers)).seq
    except APIError as error:
        if message.subject.startswith("jobs.") and streams.already_queued(error):
            return 0
        raise


class LeaseLost(Exception):
    """Another worker has the job, or nobody: this one must say nothing more of it."""


class AttemptLog:
    """The event log as one attempt writes it.

    Every progress event names the position of the job's last event. Whoever writes on while another worker has already
    written is refused by the log itself, and then has to prove in the database that it still holds the job.

    Args:
        js: the event log's server.
        job: the job as claimed.
        timeout: seconds to wait for an acknowledgement.
        holds: asks the database whether the job is still this worker's.
    """

    def __init__(self, js: JetStreamContext, job: Job, timeout: float, holds: Callable[[], Awaitable[bool]]) -> None:
        self._js = js
        self._job = job
        self._timeout = timeout
        self._holds = holds
        self._last: int | None = None

    async def publish_states(self, messages: Sequence[Message]) -> list[int]:
        """Publish rows of the outbox in order; the relay takes over those that do not get through.

        Returns:
            ids of those that did.
        """
        published = []
        try:
            for message in messages:
                self._last = await publish_message(self._js, message, self._timeout)
                published.append(message.id)
        except PublishError as error:
            log.warning("State of job %s is left to the relay: %s", self._job.id, repr(error))
        return published

    async def publish_progress(self, progress: pb.Progress) -> None:
        """Publish one report of progress, exactly once.

        Raises:
            LeaseLost: the job is no longer this worker's.
            PublishError: the server did not acknowledge it.
        """
        payload = events.progress_event(self._job, progress).SerializeToString()
        while self._last is None or not await self._published(payload):
            # First read the log's end, then ask for the lease: what another writes after that moves the end again.
            end = await self._end()
            if not await self._holds():
                raise LeaseLost
            self._last = end  # not before the lease is proven, or a zombie's next report would fit to it
            if await self._has(progress):
                return

    async def _published(self, payload: bytes) -> bool:
        service, job_id = self._job.service, self._job.id
        headers = {_EXPECTED: str(self._last), _EXPECTED_SUBJECT: events.job_subjects(service, job_id)}
        subject = events.progress_subject(service, job_id)
        try:
            acknowledged = await self._js.publish(subject, payload, timeout=self._timeout, headers=headers)
        except APIError as error:
            if streams.wrong_sequence(error):
                return False
            raise
        except PublishError:
            self._last = None  # it may be in the log or not
            raise
        self._last = acknowledged.seq
        return True

    async def _end(self) -> int:
        """Position of the job's last event; 0 before the first."""
        last = await self._last_message(events.job_subjects(self._job.service, self._job.id))
        return int(last.seq or 0) if last else 0

    async def _has(self, progress: pb.Progress) -> bool:
        """Whether the log has this report already, from a try whose acknowledgement was lost."""
        last = await self._last_message(events.progress_subject(self._job.service, self._job.id))
        if last is None or last.data is None:
            return False
        event = pb.JobEvent.FromString(last.data)
        return event.attempt == self._job.attempt and event.progress.position >= progress.position

    async def _last_message(self, subject: str) -> api.RawStreamMsg | None:
        try:
            return await self._js.get_msg(streams.EVENTS, subject=subject, direct=True)
        except NotFoundError:
            return None

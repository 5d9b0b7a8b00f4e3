"""A running attempt's progress on its way from the handler's reports to the event log and the job's row."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from mistudio.jobs.v1 import job_pb2 as pb
from mistudio_jobs.claims import Snapshot
from mistudio_jobs.pipe import Report
from mistudio_jobs.progress import HistoryRule, ProgressMeter
from mistudio_jobs.publishing import AttemptLog, LeaseLost, PublishError
from mistudio_jobs.timing import Timing

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.2


class ProgressFeed:
    """Publishes the latest report whenever there is a new one; slow publishing skips reports, but never the last.

    Args:
        attempt: the event log, as this attempt writes it.
        timing: the periods.
        on_lost: called when the log finds out that the lease is lost.
    """

    def __init__(self, attempt: AttemptLog, timing: Timing, on_lost: Callable[[], None]) -> None:
        self._attempt = attempt
        self._on_lost = on_lost
        self._meter = ProgressMeter(timing.rate_window)
        self._history = HistoryRule()
        self._latest: dict[str, Any] | None = None
        self._published_position = 0
        self._publishing = asyncio.Lock()
        self._changed = asyncio.Event()

    def take(self, report: Report) -> None:
        """Take a report from the handler."""
        self._latest = self._meter.take(report, time.monotonic())
        self._changed.set()

    def snapshot(self) -> Snapshot | None:
        """The latest progress for the job's row; None before the first report."""
        progress, now = self._latest, time.monotonic()
        if progress is None:
            return None
        keep = self._history.due(progress, now)
        if keep:
            self._history.kept(progress, now)
        return Snapshot(progress, keep)

    async def run(self, ready: Awaitable[object]) -> None:
        """Publish reports until cancelled or the lease is lost, once `ready` is done."""
        await ready
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self.flush()
            except LeaseLost:
                self._on_lost()
                return
            except (*PublishError, SQLAlchemyError) as error:
                log.warning("Progress is not published yet: %s", repr(error))
                await asyncio.sleep(_RETRY_SECONDS)
                self._changed.set()

    async def flush(self) -> None:
        """Publish the latest report unless it is published.

        Raises:
            LeaseLost: the job is no longer this worker's.
            PublishError, SQLAlchemyError: NATS or the database does not answer.
        """
        async with self._publishing:
            progress = self._latest
            if progress is not None and progress["position"] > self._published_position:
                await self._attempt.publish_progress(pb.Progress(**progress))
                self._published_position = progress["position"]

"""What a watcher has been told of each job, so that nothing it hears ever goes back.

A snapshot is read from the job's service after the log's position was noted, so the log may still bring events that the
snapshot has already. They are told apart by the job's version and by attempt and position of its progress. What a
snapshot had is a *floor*: it goes along in the resume token until an event beyond it has passed, and a resumed watch
therefore drops exactly what the uncut one would have dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mistudio.jobs.v1 import job_pb2
from mistudio_gateway.entries import TERMINAL_VALUES

_PASSED_VERSION = 0
_PASSED_PROGRESS = (-1, -1)


@dataclass(frozen=True)
class Floor:
    """How far a job is known: its version, and the attempt and position of its progress (-1 for none)."""

    version: int = _PASSED_VERSION
    progress: tuple[int, int] = _PASSED_PROGRESS

    @staticmethod
    def of(job: job_pb2.Job) -> Floor:
        """What a snapshot of `job` tells."""
        position = job.progress.position if job.HasField("progress") else -1
        return Floor(job.version, (job.attempt, position))

    def admits(self, event: job_pb2.JobEvent) -> bool:
        """Whether `event` is beyond what is known."""
        if event.HasField("state_changed"):
            return event.state_changed.version > self.version
        return (event.attempt, event.progress.position) > self.progress

    def raised(self, event: job_pb2.JobEvent) -> Floor:
        """What is known after `event`."""
        if event.HasField("state_changed"):
            return Floor(event.state_changed.version, max(self.progress, (event.attempt, -1)))
        return Floor(self.version, (event.attempt, event.progress.position))

    def lowered(self, event: job_pb2.JobEvent) -> Floor:
        """What of a snapshot's floor still has a use behind `event`, which is beyond it."""
        if not event.HasField("state_changed"):
            return Floor(self.version)
        return Floor(progress=self.progress if self.progress[0] >= event.attempt else _PASSED_PROGRESS)


_PASSED = Floor()


class Progression:
    """What one watcher has been told.

    Args:
        floors: of the snapshots, by job id; those of the token for a resumed watch.

    Attributes:
        floors: those that no event has passed yet.
        changes: grows whenever `floors` changes.
    """

    def __init__(self, floors: Mapping[str, Floor] | None = None) -> None:
        self.floors = dict(floors or {})
        self.changes = 0
        self._known = dict(self.floors)

    def snapshot(self, job: job_pb2.Job) -> None:
        """The watcher is told of `job` as it is."""
        self.floors[job.id] = self._known[job.id] = Floor.of(job)
        self.changes += 1

    def admit(self, event: job_pb2.JobEvent) -> bool:
        """Whether to tell the watcher of `event`; if so, it counts as told."""
        known = self._known.get(event.job_id, _PASSED)
        if not known.admits(event):
            return False
        ended = event.HasField("state_changed") and event.state_changed.state in TERMINAL_VALUES
        if ended:
            self._known.pop(event.job_id, None)
        else:
            self._known[event.job_id] = known.raised(event)
        floor = self.floors.get(event.job_id)
        if floor is not None:
            self._lower(event.job_id, floor, _PASSED if ended else floor.lowered(event))
        return True

    def _lower(self, job_id: str, before: Floor, after: Floor) -> None:
        if after == before:
            return
        self.changes += 1
        if after == _PASSED:
            del self.floors[job_id]
        else:
            self.floors[job_id] = after

"""One event of the log as the gateway keeps it, and the bounded memory of the latest ones."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from google.protobuf.message import DecodeError

from mistudio.jobs.v1 import job_pb2
from mistudio_jobs.events import state_value
from mistudio_jobs.states import TERMINAL

TERMINAL_VALUES = frozenset(state_value(state) for state in TERMINAL)
"""The protobuf values of the states in which a job has ended."""

_OVERHEAD_BYTES = 2048
_MOST_RENDERINGS = 8
_sequence = attrgetter("sequence")


@dataclass(slots=True)
class Entry:
    """An event at its place in the log.

    Attributes:
        sequence: its place; grows, with gaps.
        event: what happened.
        size: bytes it takes in memory, roughly.
    """

    sequence: int
    event: job_pb2.JobEvent
    size: int
    _rendered: dict[tuple[type, bytes], bytes] = field(default_factory=dict)

    @property
    def terminal(self) -> bool:
        """Whether the event tells that its job has ended."""
        return self.event.HasField("state_changed") and self.event.state_changed.state in TERMINAL_VALUES

    def rendered(self, key: tuple[type, bytes], render: Callable[[], bytes]) -> bytes:
        """The response that `render` makes of the event, made once for all watchers with the same `key`."""
        found = self._rendered.get(key)
        if found is None:
            found = render()
            if len(self._rendered) < _MOST_RENDERINGS:
                self._rendered[key] = found
        return found


def read_entry(sequence: int, data: bytes) -> Entry | None:
    """The entry of a message of the log, or None for one that this gateway does not know."""
    try:
        event = job_pb2.JobEvent.FromString(data)
    except DecodeError:
        return None
    return Entry(sequence, event, len(data) + _OVERHEAD_BYTES) if event.WhichOneof("detail") else None


class Ring:
    """The latest entries, by sequence and by job.

    Attributes:
        oldest: a reader that has seen everything up to here finds all that follows in the ring.
        position: everything up to here has been added.
    """

    def __init__(self, position: int, most_bytes: int) -> None:
        self.oldest = self.position = position
        self._most_bytes, self._bytes = most_bytes, 0
        self._entries: list[Entry] = []
        self._by_job: dict[str, list[Entry]] = {}

    def add(self, entry: Entry) -> None:
        """Keep `entry`, which comes after all others, and forget the oldest ones when the memory is full."""
        self._entries.append(entry)
        self._by_job.setdefault(entry.event.job_id, []).append(entry)
        self._bytes += entry.size
        if self._bytes > self._most_bytes:
            self._trim()

    def after(self, sequence: int, job_id: str | None, most: int = 256) -> Sequence[Entry]:
        """At most `most` entries behind `sequence`, of one job or of all."""
        entries = self._entries if job_id is None else self._by_job.get(job_id, [])
        start = bisect.bisect_right(entries, sequence, key=_sequence)
        return entries[start : start + most]

    def _trim(self) -> None:
        """Drop the oldest eighth at once, so that the cost of dropping is spread."""
        count, freed = 0, 0
        while freed < self._most_bytes // 8 and count < len(self._entries) - 1:
            freed += self._entries[count].size
            count += 1
        if not count:
            return
        self._bytes -= freed
        dropped = self._entries[:count]
        del self._entries[:count]
        self.oldest = dropped[-1].sequence
        for job_id in {entry.event.job_id for entry in dropped}:
            kept = [entry for entry in self._by_job[job_id] if entry.sequence > self.oldest]
            self._by_job[job_id] = kept
            if not kept:
                del self._by_job[job_id]

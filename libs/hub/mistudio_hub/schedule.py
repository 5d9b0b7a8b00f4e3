"""What is left to fetch: blocks of files, handed to whichever thread is free, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from mistudio_hub.parts import Part
from mistudio_hub.progress import Meter
from mistudio_hub.ranges import Range
from mistudio_hub.stopping import Stop
from mistudio_servicekit.errors import ChecksumMismatch


@dataclass(frozen=True)
class Block:
    """A range of one file to fetch; empty where the file only waits to be verified."""

    part: Part
    span: Range


class Schedule:
    """Blocks of all files, those of one file next to each other: so few files are open, and hashing keeps up.

    Args:
        parts: the files, in the order in which to fetch them.
        meter: is told of complete files and of bytes thrown away.
        stop: ends the waiting for work.
    """

    def __init__(self, parts: Sequence[Part], meter: Meter, stop: Stop) -> None:
        self._blocks = deque(Block(part, span) for part in parts for span in part.blocks())
        self._unfinished = len(parts)
        self._refetched: set[Part] = set()
        self._meter = meter
        self._stop = stop
        self._changed = threading.Condition()

    def take(self) -> Block | None:
        """The next block; waits while others may still have to be fetched again. None when all files are complete."""
        with self._changed:
            while not self._blocks and self._unfinished:
                self._stop.check()
                self._changed.wait()
            self._stop.check()
            return self._blocks.popleft() if self._blocks else None

    def wake(self) -> None:
        """Make waiting threads look at the stop flag."""
        with self._changed:
            self._changed.notify_all()

    def settle(self, part: Part, verified: bool) -> None:
        """Note that a file is complete, or put it back as a whole because its checksum was wrong.

        Raises:
            ChecksumMismatch: it was put back once before.
        """
        with self._changed:
            if verified:
                self._unfinished -= 1
                self._meter.file_done()
            elif part in self._refetched:
                raise _mismatch(part)
            else:
                self._refetched.add(part)
                self._meter.discarded(part.file.size)
                self._blocks.extendleft(Block(part, span) for span in reversed(part.blocks()))
            self._changed.notify_all()


def _mismatch(part: Part) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"{part.file.path!r} does not have the checksum that the Hub lists, also after it was fetched again",
        next_step="Try again; if it stays, the repository or the mirror is damaged",
        metadata={"path": part.file.path},
    )

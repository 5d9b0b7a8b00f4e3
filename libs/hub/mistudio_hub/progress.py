"""How far a download is."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

_WINDOW_SECONDS = 5.0


@dataclass(frozen=True)
class Progress:
    """How far a download is.

    Attributes:
        done_bytes: bytes on disk, those of earlier attempts included; never falls.
        total_bytes: bytes of all files.
        done_files: files that are complete and verified.
        total_files: all files.
        bytes_per_second: fetched over the last seconds.
    """

    done_bytes: int
    total_bytes: int
    done_files: int
    total_files: int
    bytes_per_second: float


class Meter:
    """Counts what several threads fetch.

    Args:
        total_bytes: bytes of all files.
        total_files: number of files.
        resumed_bytes: bytes that earlier attempts left.
    """

    def __init__(self, total_bytes: int, total_files: int, resumed_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._total_files = total_files
        self._on_disk = resumed_bytes
        self._shown = resumed_bytes
        self._fetched = 0
        self._done_files = 0
        self._samples = deque([(time.monotonic(), 0)])
        self._lock = threading.Lock()

    def fetched(self, count: int) -> None:
        """Count bytes that were received and written."""
        with self._lock:
            self._fetched += count
            self._on_disk += count

    def discarded(self, count: int) -> None:
        """Count bytes that were thrown away because their checksum was wrong."""
        with self._lock:
            self._on_disk -= count

    def file_done(self) -> None:
        """Count a file as complete."""
        with self._lock:
            self._done_files += 1

    def read(self) -> Progress:
        """The state now."""
        with self._lock:
            self._shown = max(self._shown, self._on_disk)
            return Progress(self._shown, self._total_bytes, self._done_files, self._total_files, self._rate())

    def _rate(self) -> float:
        now = time.monotonic()
        self._samples.append((now, self._fetched))
        while len(self._samples) > 2 and self._samples[1][0] < now - _WINDOW_SECONDS:
            self._samples.popleft()
        since, before = self._samples[0]
        return (self._fetched - before) / max(now - since, 1e-6)

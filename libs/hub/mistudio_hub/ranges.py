"""Which bytes of a file are on disk, in memory (`Ranges`) and across a kill (`Journal`)."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from pathlib import Path

Range = tuple[int, int]
"""Bytes of a file from the first number up to, not including, the second."""


class Ranges:
    """A set of bytes, kept as sorted ranges that do not touch."""

    def __init__(self) -> None:
        self._ranges: list[Range] = []

    def add(self, start: int, end: int) -> None:
        """Take up the bytes `start` to `end`."""
        apart = []
        for known in self._ranges:
            if known[1] < start or end < known[0]:
                apart.append(known)
            else:
                start, end = min(start, known[0]), max(end, known[1])
        insort(apart, (start, end))
        self._ranges = apart

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return sum(end - start for start, end in self._ranges)

    @property
    def prefix(self) -> int:
        """How many bytes there are from the file's start without a gap."""
        first = self._ranges[0] if self._ranges else (0, 0)
        return first[1] if first[0] == 0 else 0

    def missing(self, size: int, most: int) -> Iterator[Range]:
        """The gaps in a file of `size` bytes, in pieces of at most `most` bytes."""
        start = 0
        for gap_end, resume in [*self._ranges, (size, size)]:
            while start < gap_end:
                end = min(gap_end, start + most)
                yield start, end
                start = end
            start = resume


class Journal:
    """A file with one line for each range that is wholly written: `start end`.

    Appends are small and whole; what a kill leaves of the last one is no full line and is not believed. Nothing is
    flushed to the disk: a killed process leaves its writes with the kernel, and after a power cut a line may stand for
    bytes that never reached the disk, which the file's checksum then finds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, size: int) -> Ranges:
        """The recorded ranges of a file of `size` bytes; none where there is no journal."""
        ranges = Ranges()
        if not self._path.exists():
            return ranges
        *lines, _torn = self._path.read_bytes().split(b"\n")
        for line in lines:
            words = line.split()
            if len(words) == 2 and all(word.isdigit() for word in words):
                start, end = (int(word) for word in words)
                if start < end <= size:
                    ranges.add(start, end)
        return ranges

    def add(self, start: int, end: int) -> None:
        """Record that the bytes `start` to `end` are written."""
        with self._path.open("ab") as file:
            file.write(b"%d %d\n" % (start, end))

    def remove(self) -> None:
        """Forget everything."""
        self._path.unlink(missing_ok=True)

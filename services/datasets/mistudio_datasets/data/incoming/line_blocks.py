"""The lines of a source file, one by one or many at once, so that clean stretches of a file are read fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

import pyarrow as pa

from mistudio_datasets.data.incoming.streams import Line, SourceFile

SMALLEST_BLOCK = 128 << 10
LARGEST_BLOCK = 8 << 20

BlockParser = Callable[[bytes], pa.Table | None]
"""The rows of whole records, or None where it cannot be sure of reading them rightly."""

Cut = Callable[[bytes], bytes]
"""The beginning of whole lines that holds whole records; empty where none may end."""


class LineBlocks(Iterator[Line]):
    """The lines of a source file from where it is; `ahead` and `skip` take many of them at once.

    Attributes:
        offset: of the next line in the decompressed file.
    """

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.offset = source.begin()
        self._number = 0
        self._buffer, self._at = b"", 0
        self._old_lines = None if source.ends_lines_with_line_feeds() else source.lines()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Line:
        if self._old_lines is not None:
            return next(self._old_lines)
        data, size = self._next_line()
        if not data:
            raise StopIteration
        self._number += 1
        line = Line(self._number, self.offset, data, size)
        self.offset += size
        return line

    def _next_line(self) -> tuple[bytes, int]:
        """The line as far as it is kept, and its size."""
        longest = self.source.longest_line
        end = self._buffer.find(b"\n", self._at) + 1
        if not end:
            begun = self._buffer[self._at :]
            self._buffer, self._at = b"", 0
            return self.source.complete_line(begun)
        data = self._buffer[self._at : min(end, self._at + longest)]
        size, self._at = end - self._at, end
        return data, size

    def ahead(self, size: int) -> bytes:
        """Whole lines that come next, of at most `size` bytes together; empty if the next line is longer."""
        if self._old_lines is not None:
            return b""
        size = min(size, self.source.longest_line)
        is_last = False
        if len(self._buffer) - self._at < size:
            rest = self._buffer[self._at :]
            self._buffer, self._at = rest + self.source.read(size - len(rest)), 0
            is_last = len(self._buffer) < size
        end = len(self._buffer) if is_last else self._buffer.rfind(b"\n", self._at, self._at + size) + 1
        return self._buffer[self._at : end]

    def skip(self, data: bytes) -> None:
        """Go on behind `data`, whole lines that `ahead` gave."""
        self._at += len(data)
        self.offset += len(data)
        self._number += data.count(b"\n")


class FastPath:
    """Takes blocks of lines that `parse` reads; what it does not is left to a reader of single lines.

    Args:
        lines: those of the file.
        parse: reads a block.
        cut: makes one of whole lines, where a record may have several.
    """

    def __init__(self, lines: LineBlocks, parse: BlockParser, cut: Cut = bytes) -> None:
        self._lines = lines
        self._parse = parse
        self._cut = cut
        self._size = SMALLEST_BLOCK
        self._resume = 0

    def take(self) -> pa.Table | None:
        """The rows of the next lines, which are then behind; None where single lines are to be read."""
        if self._lines.offset < self._resume:
            return None
        table = self._attempt()
        if table is None and self._size > SMALLEST_BLOCK:
            self._size = SMALLEST_BLOCK
            table = self._attempt()
        if table is None:
            self._size = SMALLEST_BLOCK
            self._resume = self._lines.offset + SMALLEST_BLOCK
        return table

    def _attempt(self) -> pa.Table | None:
        data = self._ahead()
        table = self._parse(data) if data else None
        if table is not None:
            self._lines.skip(data)
            self._size = min(2 * self._size, LARGEST_BLOCK)
        return table

    def _ahead(self) -> bytes:
        """Lines for a block, of twice the size where a line is longer than that; empty at the end."""
        while not (data := self._cut(self._lines.ahead(self._size))) and self._size < LARGEST_BLOCK:
            self._size *= 2
        return data

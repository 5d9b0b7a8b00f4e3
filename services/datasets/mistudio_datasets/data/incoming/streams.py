"""Source files as decompressed bytes and lines, with the position in the compressed file for progress."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple, Self, cast

from mistudio_datasets.data.incoming.decompression import decompressed, readable
from mistudio_datasets.data.incoming.sources import Source
from mistudio_servicekit.errors import MalformedFile

MAX_LINE_BYTES = 512 << 20
"""A longer line is set aside: without line ends a file would have to fit in memory."""

_BUFFER_BYTES = 1 << 20


class Line(NamedTuple):
    """A line of a source file.

    Attributes:
        number: from 1.
        offset: of its first byte in the decompressed file.
        data: with its line end; only the beginning when the line is too long.
        size: bytes of the whole line.
    """

    number: int
    offset: int
    data: bytes
    size: int

    def require_whole(self) -> None:
        """Raise `ValueError` if only the beginning of the line is here."""
        if self.size > len(self.data):
            raise ValueError(f"longer than {len(self.data):,} bytes")


class SourceFile:
    """A source file, decompressed as its content says (gzip, zstd, bzip2, xz), read once from start to end.

    Args:
        source: the file.
        longest_line: bytes of a line that are kept.
    """

    def __init__(self, source: Source, longest_line: int = MAX_LINE_BYTES) -> None:
        self.name = source.name
        self.longest_line = longest_line
        self._mark_bytes: int | None = None
        self._raw = source.open()
        self._plain = io.BufferedReader(cast(io.RawIOBase, decompressed(self._raw, source.name)), _BUFFER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._plain.close()
        self._raw.close()

    @property
    def position(self) -> int:
        """Bytes of the (compressed) file that have been read."""
        return self._raw.tell()

    def peek(self, size: int) -> bytes:
        """Up to `size` bytes at the start, which stay to be read; a stream has no other beginning."""
        with readable(self.name):
            return self._plain.peek(size)[:size]

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end.

        Raises:
            MalformedFile: the compressed stream is broken.
        """
        with readable(self.name):
            return self._plain.read(size)

    def lines(self) -> Iterator[Line]:
        """The lines, without a byte order mark.

        Raises:
            MalformedFile: the compressed stream is broken.
        """
        with readable(self.name):
            yield from self._lines()

    def _lines(self) -> Iterator[Line]:
        number, offset = 0, self.begin()
        read_line: Callable[[int], bytes] = self._plain.readline
        end = b"\n"
        if not self.ends_lines_with_line_feeds():
            end, read_line = b"\r", self._read_old_line
        while data := read_line(self.longest_line):
            size = len(data)
            if size == self.longest_line and not data.endswith(end):
                size += _skip_line(read_line, end)
            number += 1
            yield Line(number, offset, data, size)
            offset += size

    def complete_line(self, begun: bytes) -> tuple[bytes, int]:
        """The line, ended by a line feed, that begins with `begun`, as far as it is kept, and its size."""
        left = self.longest_line - len(begun)
        with readable(self.name):
            data = begun + self._plain.readline(left) if left > 0 else begun
            size = len(data)
            if size >= self.longest_line and not data.endswith(b"\n"):
                size += _skip_line(self._plain.readline, b"\n")
        return data[: self.longest_line], size

    def begin(self) -> int:
        """Skip the byte order mark, if there is one; its bytes, however often it is asked.

        Raises:
            MalformedFile: the mark says UTF-16.
        """
        if self._mark_bytes is not None:
            return self._mark_bytes
        head = self.peek(3)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise MalformedFile(f"{self.name} is UTF-16", next_step="Save it as UTF-8 and bring it in again")
        self._mark_bytes = len(self.read(3)) if head == b"\xef\xbb\xbf" else 0
        return self._mark_bytes

    def ends_lines_with_line_feeds(self) -> bool:
        """Whether lines end with line feeds, and not with carriage returns alone, as on an old Macintosh."""
        head = self.peek(_BUFFER_BYTES)
        return b"\n" in head or b"\r" not in head.rstrip(b"\r")

    def _read_old_line(self, longest: int) -> bytes:
        """The next line of a file whose lines end with carriage returns alone."""
        parts: list[bytes] = []
        left = longest
        while left and (ahead := self._plain.peek()):
            end = ahead.find(b"\r", 0, left) + 1
            parts.append(self._plain.read(end or min(len(ahead), left)))
            left -= len(parts[-1])
            if end:
                break
        return b"".join(parts)


def _skip_line(read_line: Callable[[int], bytes], end: bytes) -> int:
    skipped = 0
    while data := read_line(_BUFFER_BYTES):
        skipped += len(data)
        if data.endswith(end):
            break
    return skipped

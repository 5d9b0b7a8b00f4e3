"""Source files as decompressed bytes and lines, with the position in the compressed file for progress."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, cast

import zstandard

from mistudio_servicekit.errors import MalformedFile, UnsupportedFormat

MAX_LINE_BYTES = 512 << 20
"""A longer line is set aside: without line ends a file would have to fit in memory."""

_BUFFER_BYTES = 1 << 20
_BROKEN_STREAM = (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError, lzma.LZMAError)


def _open_zstd(raw: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True))


def _open_gzip(raw: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw))


_OPENERS: dict[bytes, Callable[[IO[bytes]], IO[bytes]]] = {
    b"\x1f\x8b": _open_gzip,
    b"\x28\xb5\x2f\xfd": _open_zstd,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a source file.

    Attributes:
        number: from 1.
        offset: of its first byte in the decompressed file.
        data: with its line end; only the beginning when the line is longer than `MAX_LINE_BYTES`.
        size: bytes of the whole line.
    """

    number: int
    offset: int
    data: bytes
    size: int


class SourceFile:
    """A source file, decompressed as its content says (gzip, zstd, bzip2, xz), read once from start to end."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self._raw = path.open("rb")
        self._plain = io.BufferedReader(cast(io.RawIOBase, _decompressed(self._raw, name)), _BUFFER_BYTES)

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
        with _readable(self.name):
            return self._plain.peek(size)[:size]

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; empty at the end.

        Raises:
            MalformedFile: the compressed stream is broken.
        """
        with _readable(self.name):
            return self._plain.read(size)

    def lines(self, longest: int = MAX_LINE_BYTES) -> Iterator[Line]:
        """The lines, without a byte order mark.

        Raises:
            MalformedFile: the compressed stream is broken.
        """
        number, offset = 0, self._skip_byte_order_mark()
        while True:
            with _readable(self.name):
                data = self._plain.readline(longest)
                size = len(data)
                if size == longest and not data.endswith(b"\n"):
                    size += self._skip_line()
            if not data:
                return
            number += 1
            yield Line(number, offset, data, size)
            offset += size

    def _skip_byte_order_mark(self) -> int:
        head = self.peek(3)
        if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise MalformedFile(f"{self.name} is UTF-16", next_step="Save it as UTF-8 and bring it in again")
        return len(self.read(3)) if head == b"\xef\xbb\xbf" else 0

    def _skip_line(self) -> int:
        skipped = 0
        while data := self._plain.readline(_BUFFER_BYTES):
            skipped += len(data)
            if data.endswith(b"\n"):
                break
        return skipped


def _decompressed(raw: IO[bytes], name: str) -> IO[bytes]:
    head = raw.read(6)
    raw.seek(0)
    if head.startswith(b"PK\x03\x04"):
        raise UnsupportedFormat(f"{name} is a ZIP archive", next_step="Unpack it and bring in the files inside")
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            return opener(raw)
    return raw


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN_STREAM as error:
        raise MalformedFile(
            f"{name} is compressed and its stream is broken: {error}",
            next_step="Compress the file again, check it with its own tool, and bring it in again",
        ) from error

"""Compressed files as their content, down to the last byte or with an error."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Protocol, cast

import zstandard

from mistudio_servicekit.errors import MalformedFile, UnsupportedFormat

_INPUT_BYTES = 4096
"""Compressed bytes taken at once: of zeros, they are a hundred megabytes."""
_GZIP_BITS = 31
_BROKEN_STREAM = (EOFError, zlib.error, zstandard.ZstdError, lzma.LZMAError)


class _Decompressor(Protocol):
    """What the decompressors of all libraries have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _zlib() -> _Decompressor:
    return zlib.decompressobj(wbits=_GZIP_BITS)


def _zstd() -> _Decompressor:
    return zstandard.ZstdDecompressor().decompressobj()


_DECOMPRESSORS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": _zlib,
    b"\x28\xb5\x2f\xfd": _zstd,
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": lzma.LZMADecompressor,
}


class _Decompressed(io.RawIOBase):
    """The content of compressed streams (members, frames), one after the other.

    A stream that is cut and bytes behind the last that are none are errors; libraries take both for the end.
    """

    def __init__(self, raw: IO[bytes], new_stream: Callable[[], _Decompressor]) -> None:
        self._raw, self._new_stream = raw, new_stream
        self._stream = new_stream()
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # a writable buffer of bytes is meant
        filled = 0
        while filled < len(buffer) and self._decompress():
            count = min(len(buffer) - filled, len(self._ready))
            buffer[filled : filled + count] = self._ready[:count]
            self._ready = self._ready[count:]
            filled += count
        return filled

    def _decompress(self) -> bool:
        """Have something ready; false at the end."""
        while not self._ready:
            data = self._input()
            if not data:
                return False
            try:
                self._ready = memoryview(self._stream.decompress(data))
            except OSError as error:  # how bz2 says it
                raise EOFError(str(error)) from error
        return True

    def _input(self) -> bytes:
        """What the stream takes next, or a new stream where one has ended; empty at the end."""
        if not self._stream.eof:
            data = self._raw.read(_INPUT_BYTES)
            if not data:
                raise EOFError("it ends in the middle")
            return data
        data = self._stream.unused_data or self._raw.read(_INPUT_BYTES)
        while data and not data.strip(b"\0"):  # padding
            data = self._raw.read(_INPUT_BYTES)
        if data:
            self._stream = self._new_stream()
        return data.lstrip(b"\0")


def decompressed(raw: IO[bytes], name: str) -> IO[bytes]:
    """The content of `raw`, at its beginning, which people call `name`; reading it is done in `readable`.

    Raises:
        UnsupportedFormat: it is an archive of several files.
    """
    head = raw.read(6)
    raw.seek(0)
    if head.startswith(b"PK\x03\x04"):
        raise UnsupportedFormat(f"{name} is a ZIP archive", next_step="Unpack it and bring in the files inside")
    for magic, new_stream in _DECOMPRESSORS.items():
        if head.startswith(magic):
            return cast(IO[bytes], _Decompressed(raw, new_stream))
    return raw


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Turns what reading a broken stream raises into `MalformedFile`."""
    try:
        yield
    except _BROKEN_STREAM as error:
        raise MalformedFile(
            f"{name} is compressed and its stream is broken: {error}",
            next_step="Compress the file again, check it with its own tool, and bring it in again",
        ) from error

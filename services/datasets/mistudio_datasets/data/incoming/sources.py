"""A file to read as one sequence of bytes, though it may lie in the store in several pieces."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import IO, cast

_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Piece:
    """The first `size_bytes` bytes of the file at `path`."""

    path: Path
    size_bytes: int


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        pieces: where its bytes lie, in order; one at least.
        name: what people call it; never used as a path.
    """

    pieces: tuple[Piece, ...]
    name: str

    @classmethod
    def whole(cls, path: Path, name: str) -> Source:
        """The file at `path`."""
        return cls((Piece(path, path.stat().st_size),), name)

    @property
    def is_whole(self) -> bool:
        """Whether it lies in one piece."""
        return len(self.pieces) == 1

    @property
    def path(self) -> Path:
        """Where it lies, if in one piece."""
        (piece,) = self.pieces
        return piece.path

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return sum(piece.size_bytes for piece in self.pieces)

    def open(self) -> IO[bytes]:
        """The bytes, from the first on; can seek."""
        if self.is_whole:
            return self.path.open("rb")
        return cast(IO[bytes], io.BufferedReader(_Joined(self.pieces), _BUFFER_BYTES))


class _Joined(io.RawIOBase):
    """Pieces as one file."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = [piece for piece in pieces if piece.size_bytes]
        self._ends = list(accumulate(piece.size_bytes for piece in self._pieces))
        self._at = 0
        self._opened = -1
        self._file: IO[bytes] | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: sum(p.size_bytes for p in self._pieces)}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # a writable buffer of bytes is meant
        index = bisect_right(self._ends, self._at)
        if index == len(self._ends):
            return 0
        start = self._ends[index - 1] if index else 0
        wanted = memoryview(buffer)[: self._ends[index] - self._at]
        read = os.preadv(self._piece(index).fileno(), [wanted], self._at - start)
        if read == 0 and wanted:
            raise OSError(f"{self._pieces[index].path.name} is shorter than {self._pieces[index].size_bytes:,} bytes")
        self._at += read
        return read

    def _piece(self, index: int) -> IO[bytes]:
        """The opened piece; at most one is, for an upload may have been cut a thousand times."""
        if self._file is None or self._opened != index:
            self._close_piece()
            self._file, self._opened = self._pieces[index].path.open("rb", buffering=0), index
        return self._file

    def _close_piece(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        self._close_piece()
        super().close()

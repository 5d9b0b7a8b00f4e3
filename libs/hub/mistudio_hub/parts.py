"""One file on its way to disk: written in any order beside its place, verified from its start, then moved there."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from mistudio_hub.ranges import Journal, Range, Ranges
from mistudio_hub.repository import RepoFile
from mistudio_servicekit.errors import UnsafePath
from mistudio_servicekit.storage import confined, require_inside

PARTS_FOLDER = ".parts"

_READ_BYTES = 1024 * 1024


def parts_of(files: Sequence[RepoFile], folder: Path, block_bytes: int) -> list[Part]:
    """`files` as they are downloaded into `folder`.

    Raises:
        UnsafePath: a file's name would leave the folder, belongs to partial files, or is where another one is.
    """
    places: set[tuple[str, ...]] = set()
    for file in files:
        place = require_inside(file.path)
        if place[0] == PARTS_FOLDER or place in places:
            raise _taken(file)
        places.add(place)
    folders = {place[:depth] for place in places for depth in range(1, len(place))}
    for file in files:
        if require_inside(file.path) in folders:
            raise _taken(file)
    return [Part(file, folder, block_bytes) for file in files]


def _taken(file: RepoFile) -> UnsafePath:
    return UnsafePath(
        f"The file name {file.path!r} is where another file or folder is",
        next_step="Use a repository whose files each have a place of their own",
        metadata={"name": file.path},
    )


class _Hash(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


class Part:
    """A file that is being downloaded into `folder`.

    Its bytes go to a partial file in the folder's `.parts`, named after the file's path and checksum, so that a later
    attempt finds them, also where the folder was renamed, and never takes them for another commit's. The file itself
    appears under its own name only once all its bytes have the checksum. Bytes from an earlier attempt are hashed
    again like all others: nothing on disk is taken on trust.

    Args:
        file: what is downloaded.
        folder: where to.
        block_bytes: most bytes that are fetched in one piece.

    Raises:
        UnsafePath: the file's name would leave the folder.
    """

    def __init__(self, file: RepoFile, folder: Path, block_bytes: int) -> None:
        self.file = file
        self._final = confined(folder, file.path)
        digest = file.sha256 or file.git_sha1
        name = hashlib.sha256(f"{file.path}\0{file.size}\0{digest}".encode()).hexdigest()[:32]
        self._partial = folder / PARTS_FOLDER / f"{name}.part"
        self._journal = Journal(folder / PARTS_FOLDER / f"{name}.ranges")
        self._block_bytes = block_bytes
        self._ranges = Ranges()
        self._descriptor = -1
        self._lock = threading.Lock()
        self._verifying = threading.Lock()
        self._restart_hash()

    def resume(self) -> int:
        """Take over what an earlier attempt left; returns how many bytes."""
        if self._final.is_file() and self._final.stat().st_size == self.file.size:
            self._journal.add(0, self.file.size)
            self._final.replace(self._partial)
        if self._partial.is_file():
            self._ranges = self._journal.read(min(self.file.size, self._partial.stat().st_size))
        return self._ranges.size

    def blocks(self) -> list[Range]:
        """The ranges to fetch; one empty range where only verifying is left to do."""
        return list(self._ranges.missing(self.file.size, self._block_bytes)) or [(self.file.size, self.file.size)]

    def write(self, offset: int, data: bytes) -> None:
        """Write `data` at `offset`; thread-safe for ranges that do not overlap."""
        descriptor = self._open()
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written

    def complete(self, start: int, end: int) -> None:
        """Record the written bytes `start` to `end`, so that no later attempt fetches them.

        A file that comes in one piece needs no journal: the next step moves it to its place.
        """
        with self._lock:
            self._ranges.add(start, end)
            if end - start < self.file.size:
                self._journal.add(start, end)

    def verify_ahead(self, check: Callable[[], None]) -> bool | None:
        """Hash what is written without a gap, unless another thread is at it; `check` raises to stop.

        Returns:
            None while bytes are missing; then, in one thread only, whether the file has its checksum. True: the file
            is in its place. False: everything fetched is forgotten.
        """
        while self._hashed < self._prefix() or self._whole():
            if not self._verifying.acquire(blocking=False):
                return None
            try:
                self._hash_to(self._prefix(), check)
                if self._whole():
                    return self._settle()
            finally:
                self._verifying.release()
        return None

    def close(self) -> None:
        """Close the partial file."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _open(self) -> int:
        with self._lock:
            if self._descriptor < 0:
                self._descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            return self._descriptor

    def _prefix(self) -> int:
        with self._lock:
            return self._ranges.prefix

    def _whole(self) -> bool:
        return self._hashed == self.file.size and not self._settled

    def _restart_hash(self) -> None:
        self._settled = False
        self._hashed = 0
        self._hash: _Hash = hashlib.sha256()
        if self.file.sha256 is None:
            self._hash = hashlib.sha1(b"blob %d\0" % self.file.size, usedforsecurity=False)

    def _hash_to(self, end: int, check: Callable[[], None]) -> None:
        descriptor = self._open()
        buffer = memoryview(bytearray(min(_READ_BYTES, max(1, end - self._hashed))))
        while self._hashed < end:
            check()
            count = os.preadv(descriptor, [buffer[: end - self._hashed]], self._hashed)
            if count == 0:
                raise OSError(f"The partial file of {self.file.path!r} was cut short while it was read")
            self._hash.update(buffer[:count])
            self._hashed += count

    def _settle(self) -> bool:
        """Compare the checksum of all bytes, and move the file to its place or forget it."""
        self._settled = True
        matches = self._hash.hexdigest() == (self.file.sha256 or self.file.git_sha1)
        self.close()
        if matches:
            self._final.parent.mkdir(parents=True, exist_ok=True)
            self._partial.replace(self._final)
            self._journal.remove()
        else:
            self._journal.remove()
            self._ranges = Ranges()
            self._restart_hash()
        return matches

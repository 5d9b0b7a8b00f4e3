"""Where files live: every path in the store is built here, from ids, and cannot leave the store."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from uuid import UUID

from mistudio_servicekit.errors import DiskFull, UnsafePath
from mistudio_servicekit.reservations import Reservation, Reservations, Room

RESERVATIONS_FOLDER = ".reservations"
"""The folder of the store with what running jobs have reserved; no area, and counted nowhere."""

_NAMED_RESERVATIONS = 3
_MOST_PART_BYTES = 255
# Half of what a whole path may have: the store's own folders come before it.
_MOST_NAME_BYTES = 2048
_MORE_ROOM = "datasets or models that are no longer needed, or enlarge the store"


class Area(StrEnum):
    """The first folder of every path in the store; one per kind of resource."""

    DATASETS = "datasets"
    TOKENIZATIONS = "tokenizations"
    DERIVED = "derived"
    EXPORTS = "exports"
    MODELS = "models"


@dataclass(frozen=True)
class Store:
    """The shared file store, mounted by services and workers alike.

    Attributes:
        root: absolute folder that holds the areas.
        quota_bytes: the most the store may use of the disk, or None for all of it.
    """

    root: Path
    quota_bytes: int | None = None

    def resource(self, area: Area, resource_id: UUID) -> Path:
        """The folder of one resource, which holds one folder per epoch."""
        return self.root / area / str(UUID(str(resource_id)))

    def epoch(self, area: Area, resource_id: UUID, epoch: int) -> Path:
        """The folder that the job attempt `epoch` of a resource writes, and nobody else."""
        return self.resource(area, resource_id) / str(int(epoch))

    def free_bytes(self) -> int:
        """Bytes that may still be written: free on the disk, with a quota within it, and not reserved by others."""
        # Read in this order, bytes that are being written count twice rather than never.
        reserved = _sum(self._reservations.held())
        return max(0, self._unused_bytes() - reserved)

    def require_free(self, needed_bytes: int, what: str) -> None:
        """Raise `DiskFull` unless `needed_bytes` fit beside what others have reserved.

        Args:
            needed_bytes: that will be written.
            what: names their purpose in the text.
        """
        held = self._reservations.held()
        free = max(0, self._unused_bytes() - _sum(held))
        if needed_bytes > free:
            raise _no_room(f"{what} needs {needed_bytes:,} bytes but the store has {free:,} bytes free", held)

    @contextmanager
    def reserve(self, needed_bytes: int, what: str) -> Iterator[Room]:
        """Keep room for `needed_bytes` from all others, in every process that shares the store, inside the block.

        Args:
            needed_bytes: that will be written in the block; tell the room as they become fewer.
            what: names their purpose in the texts of errors, this one's and others'.

        Raises:
            DiskFull: they do not fit beside what others have reserved.
        """
        with self._reservations.locked():
            self.require_free(needed_bytes, what)
            room = self._reservations.add(needed_bytes, what)
        with room:
            yield room

    @property
    def _reservations(self) -> Reservations:
        return Reservations(self.root / RESERVATIONS_FOLDER)

    def _unused_bytes(self) -> int:
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if self.quota_bytes is None:
            return free
        used = folder_bytes(self.root) - folder_bytes(self.root / RESERVATIONS_FOLDER)
        return min(free, self.quota_bytes - used)


def disk_full(problem: str) -> DiskFull:
    """The error for a store without room."""
    return DiskFull(problem, next_step=f"Delete {_MORE_ROOM}")


def _no_room(problem: str, held: Sequence[Reservation]) -> DiskFull:
    """The error for what does not fit; it names what others have `held`, if anything."""
    if not held:
        return disk_full(problem)
    named = "; ".join(f"{each.what}: {each.remaining_bytes:,}" for each in held[:_NAMED_RESERVATIONS])
    more = f"; {len(held) - _NAMED_RESERVATIONS} more" if len(held) > _NAMED_RESERVATIONS else ""
    return DiskFull(
        f"{problem} beside the {_sum(held):,} that running jobs have reserved ({named}{more})",
        next_step=f"Wait until these have ended, delete {_MORE_ROOM}",
    )


def _sum(held: Sequence[Reservation]) -> int:
    return sum(reservation.remaining_bytes for reservation in held)


def is_disk_full(error: OSError) -> bool:
    """Whether an operating system error means that the store has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def require_inside(name: str) -> tuple[str, ...]:
    """The parts of the file name `name` (posix, relative).

    Raises:
        UnsafePath: `name` is absolute, empty, climbs with `..`, holds a NUL or a backslash, or is no name that a disk
            takes.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
        raise _unsafe(name, "would leave its folder")
    try:
        longest = max(len(part.encode()) for part in parts)
    except UnicodeEncodeError:
        raise _unsafe(name, "is no text") from None
    if longest > _MOST_PART_BYTES or len(name.encode()) > _MOST_NAME_BYTES:
        raise _unsafe(name, "is longer than a disk takes")
    return parts


def _unsafe(name: str, problem: str) -> UnsafePath:
    return UnsafePath(
        f"The file name {name!r} {problem}",
        next_step="Use a repository whose file names are plain relative paths",
        metadata={"name": name},
    )


def confined(folder: Path, name: str) -> Path:
    """The path of the file `name` (posix, relative) inside `folder`.

    Raises:
        UnsafePath: as `require_inside` says, or a link leads out of the folder.
    """
    path = folder.joinpath(*require_inside(name))
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnsafePath(
            f"The file name {name!r} leads out of its folder through a link",
            next_step="Remove the link from the store",
            metadata={"name": name},
        )
    return path


def folder_bytes(folder: Path) -> int:
    """Apparent size of all files below `folder`, in bytes; files that vanish meanwhile count nothing."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_size
            except FileNotFoundError:
                continue
    return total


def remove_tree(folder: Path) -> None:
    """Delete `folder` and all below it; what is already gone is no error."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below `folder`, and its entry in its parent, to disk."""
    for base, _, names in os.walk(folder):
        for name in names:
            _sync(Path(base) / name)
        _sync(Path(base))
    _sync(folder.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Where files live: every path in the store is built here, from ids, and cannot leave the store."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from uuid import UUID

from mistudio_servicekit.errors import DiskFull, UnsafePath


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
        """Bytes that may still be written: free on the disk and, with a quota, within it."""
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if self.quota_bytes is None:
            return free
        return max(0, min(free, self.quota_bytes - folder_bytes(self.root)))

    def require_free(self, needed_bytes: int, what: str) -> None:
        """Raise `DiskFull` unless `needed_bytes` fit; `what` names their purpose in the text."""
        free = self.free_bytes()
        if needed_bytes > free:
            raise disk_full(f"{what} needs {needed_bytes:,} bytes but the store has {free:,} bytes free")


def disk_full(problem: str) -> DiskFull:
    """The error for a store without room."""
    return DiskFull(problem, next_step="Delete datasets or models that are no longer needed, or enlarge the store")


def is_disk_full(error: OSError) -> bool:
    """Whether an operating system error means that the store has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def require_inside(name: str) -> tuple[str, ...]:
    """The parts of the file name `name` (posix, relative).

    Raises:
        UnsafePath: `name` is absolute, empty, climbs with `..`, or holds a NUL or a backslash.
    """
    parts = PurePosixPath(name).parts
    unsafe = not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name
    if unsafe:
        raise UnsafePath(
            f"The file name {name!r} would leave its folder",
            next_step="Use a repository whose file names are plain relative paths",
            metadata={"name": name},
        )
    return parts


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

"""The data folder of a stack: where its parts lie, and the lock that keeps a second stack out."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from mistudio_local.errors import DataFolderInUse
from mistudio_local.orphans import alive

# A killed owner takes a moment to die, and its watchdog some more to clear away what it left.
_OWNER_SECONDS, _WATCHDOG_SECONDS = 1.0, 20.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class DataFolder:
    """Paths below `root`."""

    root: Path

    @property
    def store(self) -> Path:
        """Files of datasets, tokenizations and models."""
        return self.root / "store"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.root / "logs"

    @property
    def postgres(self) -> Path:
        """The embedded Postgres."""
        return self.root / "postgres"

    @property
    def nats(self) -> Path:
        """The embedded NATS."""
        return self.root / "nats"

    @property
    def hub_mirror(self) -> Path:
        """What the hub mirror serves."""
        return self.root / "hub"

    @property
    def secret_key(self) -> Path:
        """The key that seals secrets."""
        return self.root / "secret.key"


@dataclass(frozen=True)
class FolderLock:
    """The right to run a stack on a data folder, held as long as any copy of `descriptor` is open.

    Attributes:
        descriptor: the locked file; the stack shares it with its watchdog.
        last_stack_id: the stack that held the lock before, or None.
    """

    descriptor: int
    last_stack_id: str | None

    @classmethod
    def acquire(cls, root: Path, stack_id: str) -> FolderLock:
        """Lock the folder for the stack `stack_id` of this process.

        Where the last stack was killed, this waits until its watchdog has cleared away what it left.

        Raises:
            DataFolderInUse: a living stack has the folder.
        """
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
        started = time.monotonic()
        while not _locked(descriptor):
            pid, _ = _owner(descriptor)
            if time.monotonic() - started > (_OWNER_SECONDS if _lives(pid) else _WATCHDOG_SECONDS):
                os.close(descriptor)
                raise DataFolderInUse(
                    f"Another stack (process {pid}) uses the data folder {root}",
                    next_step="Stop it, or choose another folder with --data-dir",
                )
            time.sleep(_POLL_SECONDS)
        _, last_stack_id = _owner(descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "stack_id": stack_id}).encode(), 0)
        return cls(descriptor, last_stack_id)

    def release(self) -> None:
        """Let the next stack in."""
        os.close(self.descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lives(pid: int) -> bool:
    try:
        return alive(psutil.Process(pid))
    except (psutil.NoSuchProcess, ValueError):
        return False


def _owner(descriptor: int) -> tuple[int, str | None]:
    """Process id and stack id in the lock file; process -1, which never exists, while it is empty."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        return int(owner["pid"]), str(owner["stack_id"])
    except (ValueError, KeyError):
        return -1, None

"""Room on a disk that running work will still fill, told among all processes and hosts that share the disk.

Each piece of work keeps one small file in the folder of reservations: how many bytes it will still write. The file is
locked as long as its owner lives, so that a kill frees the room at once on the same host, and touched every few
seconds, so that one whose host is gone stops counting soon. One more lock makes looking and reserving a single step.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

STALE_SECONDS = 60.0
"""Age of its last sign of life at which a reservation of another host counts no more."""

_TELL_SECONDS = 0.25
_TOUCH_SECONDS = 5.0
# What a name of so many characters takes at most, and more than enough for the rest.
_MOST_NAME = 120
_RECORD_BYTES = 2048


@dataclass(frozen=True)
class Reservation:
    """What one piece of work has reserved.

    Attributes:
        remaining_bytes: that it will still write.
        what: names its purpose.
        boot: tells hosts, and their starts, apart.
    """

    remaining_bytes: int
    what: str
    boot: str

    def to_record(self) -> bytes:
        """This reservation as bytes, always equally many: it is written over the one before."""
        return json.dumps(asdict(self)).encode().ljust(_RECORD_BYTES)

    @classmethod
    def from_record(cls, record: bytes) -> Self:
        """The reservation that `to_record` described.

        Raises:
            ValueError, TypeError: it is something else.
        """
        return cls(**json.loads(record))


class Room:
    """A reservation that is being held, inside its block; safe to use from several threads.

    Args:
        folder: that holds the reservations.
        remaining_bytes: that will be written.
        what: names their purpose.
    """

    def __init__(self, folder: Path, remaining_bytes: int, what: str) -> None:
        self._remaining = remaining_bytes
        self._what = what[:_MOST_NAME]
        self._ended = threading.Event()
        name = uuid4()
        self._path, draft = folder / f"{name}.room", folder / f"{name}.draft"
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._tell()
            draft.rename(self._path)  # seen by others only once it is locked and written
        except OSError:
            draft.unlink(missing_ok=True)
            os.close(self._descriptor)
            raise
        self._teller = threading.Thread(target=self._keep_telling, name="room", daemon=True)
        self._teller.start()

    def shrink_to(self, remaining_bytes: int) -> None:
        """Need only `remaining_bytes` more; others see so within moments. Cheap: call it as often as you like."""
        self._remaining = max(0, remaining_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what is left."""
        self._ended.set()
        self._teller.join()
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _keep_telling(self) -> None:
        told, ticks = self._remaining, 0
        while not self._ended.wait(_TELL_SECONDS):
            ticks += 1
            if self._remaining != told or ticks * _TELL_SECONDS >= _TOUCH_SECONDS:
                told, ticks = self._remaining, 0
                with suppress(OSError):  # what it said last still counts
                    self._tell()

    def _tell(self) -> None:
        os.pwrite(self._descriptor, Reservation(self._remaining, self._what, _boot()).to_record(), 0)


class Reservations:
    """The reservations on one disk.

    Args:
        folder: that holds them; made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep everybody else from reserving, in any process, until the block is left."""
        descriptor = self._open_lock()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def add(self, remaining_bytes: int, what: str) -> Room:
        """Reserve room for `remaining_bytes`, to be given back by leaving its block; call it while `locked`."""
        return Room(self._folder, remaining_bytes, what)

    def held(self) -> list[Reservation]:
        """All reservations whose owners live, the largest first; what dead owners left is removed."""
        if not self._folder.is_dir():
            return []
        now = self._now()
        found = (_living(path, now) for path in self._folder.glob("*.room"))
        return sorted(filter(None, found), key=lambda reservation: -reservation.remaining_bytes)

    def _open_lock(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        return os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def _now(self) -> float:
        """The time by the clock that the disk itself writes down, which hosts share."""
        descriptor = self._open_lock()
        try:
            os.utime(descriptor)
            return os.fstat(descriptor).st_mtime
        finally:
            os.close(descriptor)


def _living(path: Path, now: float) -> Reservation | None:
    """The reservation at `path`; None, and removed, if its owner is dead."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        reservation = Reservation.from_record(os.pread(descriptor, _RECORD_BYTES, 0))
        stale = os.fstat(descriptor).st_mtime < now - STALE_SECONDS
        if not stale and (reservation.boot != _boot() or _is_locked(descriptor)):
            return reservation
    except (ValueError, TypeError):
        pass  # nobody's: a reservation is whole before it is seen
    finally:
        os.close(descriptor)
    path.unlink(missing_ok=True)
    return None


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@cache
def _boot() -> str:
    """Which start of which host this is: the same in all its containers, where a host name is not."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

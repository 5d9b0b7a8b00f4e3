"""The devices of a worker that can hold models, and how much of their memory is free."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from mistudio_models.domain.loading import Device

CPU = "cpu"
_CPU_INFO = Path("/proc/cpuinfo")


class Devices(Protocol):
    """The devices of one kind that a worker loads models on."""

    @property
    def kind(self) -> str:
        """What torch calls them: `cpu` or `cuda`."""

    def now(self) -> Sequence[Device]:
        """Each of them as it is now; none where the worker has none."""

    def give_back(self) -> None:
        """Return memory that nothing uses any more to them."""


@dataclass(frozen=True)
class _ControlGroup:
    """Where a version of the kernel's control groups tells of a container's memory.

    Attributes:
        limit: file with the most bytes that it may use.
        used: file with the bytes that it uses.
        statistics: file with what they are used for.
        reclaimable: key there of the bytes that the kernel takes back before it runs short.
    """

    limit: Path
    used: Path
    statistics: Path
    reclaimable: str


_GROUPS = Path("/sys/fs/cgroup")
_CONTROL_GROUPS = (
    _ControlGroup(_GROUPS / "memory.max", _GROUPS / "memory.current", _GROUPS / "memory.stat", "inactive_file"),
    _ControlGroup(
        _GROUPS / "memory/memory.limit_in_bytes",
        _GROUPS / "memory/memory.usage_in_bytes",
        _GROUPS / "memory/memory.stat",
        "total_inactive_file",
    ),
)


class CpuDevice:
    """The CPU, whose memory is the host's, or what the container or the worker may use of it.

    Args:
        limit_bytes: resident memory at which the worker ends this process; 0 where it does not.
    """

    kind = CPU

    def __init__(self, limit_bytes: int = 0) -> None:
        self._limit_bytes = limit_bytes
        self._name = _cpu_name()

    def now(self) -> Sequence[Device]:
        """See `Devices`."""
        rooms = [*_host_room(), *self._own_room()]
        return [Device(CPU, self._name, min(total for total, _ in rooms), max(0, min(free for _, free in rooms)))]

    def give_back(self) -> None:
        """See `Devices`."""
        # Imported here as it brings torch along, which a worker that only downloads never needs.
        from mistudio_models.engine.allocator import give_back_memory

        give_back_memory()

    def _own_room(self) -> list[tuple[int, int]]:
        used = psutil.Process(os.getpid()).memory_info().rss
        return [(self._limit_bytes, self._limit_bytes - used)] if self._limit_bytes else []


def _host_room() -> list[tuple[int, int]]:
    """Total and free bytes of the host, and of every limit that the container sets."""
    memory = psutil.virtual_memory()
    limits = (_room_of(group) for group in _CONTROL_GROUPS)
    return [(memory.total, memory.available), *(room for room in limits if room is not None)]


def _room_of(group: _ControlGroup) -> tuple[int, int] | None:
    try:
        limit = int(group.limit.read_text())  # a group without a limit says `max`
        statistics = dict(line.split() for line in group.statistics.read_text().splitlines())
        used = int(group.used.read_text()) - int(statistics.get(group.reclaimable, 0))
    except (OSError, ValueError):
        return None
    return limit, limit - used


def _cpu_name() -> str:
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.machine()

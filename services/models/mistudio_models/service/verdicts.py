"""Whether a model fits a device, in a word, in words, and what would make it fit. `domain.room` does the counting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mistudio_models.domain.loading import Device, Host, LoadedModel
from mistudio_models.domain.room import Room, total_bytes
from mistudio_models.domain.weights import Need
from mistudio_servicekit.errors import MistudioError

_SPARE_SHARE = 10
"""A tenth of what there is for models to spare is comfortable."""


class Verdict(StrEnum):
    """Whether a model fits; mirrors `mistudio.models.v2.Verdict`."""

    FITS = "FITS"
    TIGHT = "TIGHT"
    WONT_FIT = "WONT_FIT"
    NOT_LOADABLE = "NOT_LOADABLE"


@dataclass(frozen=True)
class Alternative:
    """Another way to have the model, which takes less memory.

    Attributes:
        change: what to do for it, a clause that begins a sentence: `Load it in INT8`.
        need: what it takes then.
    """

    change: str
    need: Need


@dataclass(frozen=True)
class DeviceVerdict:
    """Whether a model fits one device; see `mistudio.models.v2.DeviceVerdict` for its fields."""

    worker: str
    device: Device
    verdict: Verdict
    needed_bytes: int
    available_bytes: int
    reason: str
    remedy: str


@dataclass(frozen=True)
class Target:
    """A device of a worker, where a model might go."""

    host: Host
    device: Device

    @property
    def room(self) -> Room:
        """What it has for one more model."""
        return Room(self.host.state, self.device)

    @property
    def device_type(self) -> str:
        """`cuda` for `cuda:0`."""
        return self.device.id.partition(":")[0]


def targets(hosts: Iterable[Host]) -> Sequence[Target]:
    """Every device of the workers."""
    return [Target(host, device) for host in hosts for device in host.state.devices]


def device_verdict(need: Need, alternatives: Sequence[Alternative], target: Target) -> DeviceVerdict:
    """Whether a model fits a device.

    Args:
        need: what the model takes there, as it is wanted.
        alternatives: what it takes in other ways, that which costs least quality first.
        target: the device.
    """
    room, peak = target.room, need.peak_bytes
    verdict = _verdict(peak, room)
    remedy = _remedy(peak, alternatives, target) if verdict is Verdict.WONT_FIT else ""
    reason = f"It needs {in_words(peak)} at its highest, {_when(need)}; {target.device.id} has {_told(room)}"
    if verdict is Verdict.WONT_FIT and not remedy:
        reason += f"; {_hopeless(alternatives)}"
    return _of(target, verdict, peak, reason, remedy)


def refused_verdict(need: Need, refusal: MistudioError, target: Target) -> DeviceVerdict:
    """The verdict on a model that is not loaded on a device, whatever room there is.

    Args:
        need: what the model would take there.
        refusal: what a load would end with.
        target: the device.
    """
    return _of(target, Verdict.NOT_LOADABLE, need.peak_bytes, refusal.problem, refusal.next_step)


def in_words(size: int) -> str:
    """A size in bytes for people: in GB, or MB where it is small."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.2f} MB"


def _of(target: Target, verdict: Verdict, peak: int, reason: str, remedy: str) -> DeviceVerdict:
    available = target.room.available_bytes
    return DeviceVerdict(target.host.worker, target.device, verdict, peak, available, reason, remedy)


def _verdict(peak: int, room: Room) -> Verdict:
    if peak > room.available_bytes:
        return Verdict.WONT_FIT
    return Verdict.TIGHT if (room.available_bytes - peak) * _SPARE_SHARE < room.total_bytes else Verdict.FITS


def _when(need: Need) -> str:
    return "while it runs" if need.run_peak_bytes >= need.load_peak_bytes else "while it is loaded"


def _told(room: Room) -> str:
    """What the device has, in words."""
    going = total_bytes(room.evictable)
    of_models = f" and {in_words(going)} of loaded models that would make room" if room.evictable else ""
    budget = f", of which the worker's budget leaves {in_words(room.budget_bytes)}"
    return f"{in_words(room.free_bytes)} free{of_models}" + (budget if room.budget_bytes < room.memory_bytes else "")


def _remedy(peak: int, alternatives: Sequence[Alternative], target: Target) -> str:
    for alternative in alternatives:
        if alternative.need.peak_bytes <= target.room.available_bytes:
            return f"{alternative.change}: it then needs {in_words(alternative.need.peak_bytes)}"
    return _unloading(peak, target)


def _unloading(peak: int, target: Target) -> str:
    """Which models to unload so that `peak` bytes are there; empty where that does not help."""
    held = target.room.held
    for count in range(1, len(held) + 1):
        released = held[:count]
        if peak <= target.room.without(released).available_bytes:
            return _unload(released, target.host.worker)
    return ""


def _unload(models: Sequence[LoadedModel], worker: str) -> str:
    named = ", ".join(f"{model.repo_id} ({model.held_in})" for model in models)
    busy = any(model.in_use for model in models)
    return f"Unload {named} from worker {worker}" + (" when no job works with it any more" if busy else "")


def _hopeless(alternatives: Sequence[Alternative]) -> str:
    if not alternatives:
        return "no smaller way to hold it is known, and unloading models does not help"
    least = min(alternative.need.peak_bytes for alternative in alternatives)
    return f"nothing makes it fit: the smallest way to have it needs {in_words(least)}"

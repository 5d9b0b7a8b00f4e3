"""Whether a model fits a device, in a word, in words, and what would make it fit.

A device's room is counted with care: a model that is said to fit has found its bytes among those that are free or
would be once loaded models are evicted, and within what the worker's budget leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mistudio_models.domain.loading import Device, Host, LoadedModel
from mistudio_models.domain.weights import Need

_SPARE_SHARE = 10
"""A tenth of what there is for models to spare is comfortable."""


class Verdict(StrEnum):
    """Whether a model fits; mirrors `mistudio.models.v2.Verdict`."""

    FITS = "FITS"
    TIGHT = "TIGHT"
    WONT_FIT = "WONT_FIT"


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
class Room:
    """What a device has for one more model.

    Attributes:
        host: the worker that has the device.
        device: the device.
        released: held models that are thought away, as if they were unloaded.
    """

    host: Host
    device: Device
    released: Collection[LoadedModel] = ()

    @property
    def evictable(self) -> Sequence[LoadedModel]:
        """Models on the device that would make room."""
        return [model for model in self.host.state.models if self._on_device(model) and not self._stays(model)]

    @property
    def held(self) -> Sequence[LoadedModel]:
        """Models on the device that would not, those first that a call can unload."""
        staying = [model for model in self.host.state.models if self._on_device(model) and self._stays(model)]
        return sorted(staying, key=lambda model: (model.in_use, -_bytes(model)))

    @property
    def budget_bytes(self) -> int:
        """Bytes of weights that the worker may hold beside the models that stay, on whatever device."""
        staying = sum(_bytes(model) for model in self.host.state.models if self._stays(model))
        return max(0, self.host.state.budget_bytes - staying)

    @property
    def memory_bytes(self) -> int:
        """Bytes that are free or would be."""
        return max(0, self.device.free_bytes) + sum(map(_bytes, self.evictable))

    @property
    def total_bytes(self) -> int:
        """Bytes that the model could use if there were no others, and nothing else."""
        return min(self.device.total_bytes, self.host.state.budget_bytes)

    @property
    def available_bytes(self) -> int:
        """Bytes that the model may use."""
        return min(self.memory_bytes, self.budget_bytes)

    def without(self, released: Collection[LoadedModel]) -> Room:
        """The room as it would be if these were unloaded as well."""
        return Room(self.host, self.device, [*self.released, *released])

    def _on_device(self, model: LoadedModel) -> bool:
        return model.device == self.device.id

    def _stays(self, model: LoadedModel) -> bool:
        return (model.pinned or model.in_use) and model not in self.released

    def __str__(self) -> str:
        free = f"{in_words(max(0, self.device.free_bytes))} free"
        making_room = self.evictable
        of_models = f" and {in_words(sum(map(_bytes, making_room)))} of loaded models that would make room"
        memory = free + (of_models if making_room else "")
        budget = f", of which the worker's budget leaves {in_words(self.budget_bytes)}"
        return memory + (budget if self.budget_bytes < self.memory_bytes else "")


def device_verdict(need: Need, alternatives: Sequence[Alternative], room: Room) -> DeviceVerdict:
    """Whether a model fits a device.

    Args:
        need: what the model takes there, as it is wanted.
        alternatives: what it takes in other ways, that which costs least quality first.
        room: what the device has.
    """
    available, peak = room.available_bytes, need.peak_bytes
    verdict = _verdict(peak, available, room.total_bytes)
    remedy = _remedy(peak, alternatives, room) if verdict is Verdict.WONT_FIT else ""
    reason = f"It needs {in_words(peak)} at its highest, {_when(need)}; {room.device.id} has {room}"
    if verdict is Verdict.WONT_FIT and not remedy:
        reason += f"; {_hopeless(alternatives)}"
    return DeviceVerdict(room.host.worker, room.device, verdict, peak, available, reason, remedy)


def in_words(size: int) -> str:
    """A size in bytes for people: in GB, or MB where it is small."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.2f} MB"


def _verdict(peak: int, available: int, total: int) -> Verdict:
    if peak > available:
        return Verdict.WONT_FIT
    return Verdict.TIGHT if (available - peak) * _SPARE_SHARE < total else Verdict.FITS


def _when(need: Need) -> str:
    return "while it runs" if need.run_peak_bytes >= need.load_peak_bytes else "while it is loaded"


def _remedy(peak: int, alternatives: Sequence[Alternative], room: Room) -> str:
    for alternative in alternatives:
        if alternative.need.peak_bytes <= room.available_bytes:
            return f"{alternative.change}: it then needs {in_words(alternative.need.peak_bytes)}"
    return _unloading(peak, room)


def _unloading(peak: int, room: Room) -> str:
    """Which models to unload so that `peak` bytes are there; empty where that does not help."""
    held = room.held
    for count in range(1, len(held) + 1):
        released = held[:count]
        if peak <= room.without(released).available_bytes:
            return _unload(released, room)
    return ""


def _unload(models: Sequence[LoadedModel], room: Room) -> str:
    named = ", ".join(f"{model.repo_id} ({model.held_in})" for model in models)
    busy = any(model.in_use for model in models)
    return f"Unload {named} from worker {room.host.worker}" + (" when no job works with it any more" if busy else "")


def _hopeless(alternatives: Sequence[Alternative]) -> str:
    if not alternatives:
        return "no smaller way to hold it is known, and unloading models does not help"
    least = min(alternative.need.peak_bytes for alternative in alternatives)
    return f"nothing makes it fit: the smallest way to have it needs {in_words(least)}"


def _bytes(model: LoadedModel) -> int:
    return model.memory.measured_weights_bytes

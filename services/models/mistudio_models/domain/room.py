"""The room that a device has for one more model, and what goes to make it: verdicts tell it, the cache acts on it.

A device's room is counted with care: a model that fits has found its bytes among those that are free or would be once
loaded models are evicted, and within what the worker's budget leaves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from mistudio_models.domain.loading import Device, HostState, LoadedModel


@dataclass(frozen=True)
class Room:
    """What a device has for one more model; all sizes in bytes.

    Attributes:
        state: of the worker that has the device.
        device: the device.
        released: held models that are thought away, as if they were unloaded.
    """

    state: HostState
    device: Device
    released: Collection[LoadedModel] = ()

    @property
    def evictable(self) -> Sequence[LoadedModel]:
        """Models on the device that would make room."""
        return [model for model in self._on_device() if not self._stays(model)]

    @property
    def held(self) -> Sequence[LoadedModel]:
        """Models on the device that would not, those first that a call can unload."""
        staying = [model for model in self._on_device() if self._stays(model)]
        return sorted(staying, key=lambda model: (model.in_use, -model.weights_bytes))

    @property
    def free_bytes(self) -> int:
        """Bytes that are free on the device."""
        return max(0, self.device.free_bytes)

    @property
    def budget_bytes(self) -> int:
        """Bytes of weights that the worker may hold beside the models that stay, on whatever device."""
        staying = total_bytes(model for model in self.state.models if self._stays(model))
        return max(0, self.state.budget_bytes - staying)

    @property
    def memory_bytes(self) -> int:
        """Bytes that are free or would be."""
        return self.free_bytes + total_bytes(self.evictable)

    @property
    def total_bytes(self) -> int:
        """Bytes that the model could use if there were no others, and nothing else."""
        return min(self.device.total_bytes, self.state.budget_bytes)

    @property
    def available_bytes(self) -> int:
        """Bytes that the model may use."""
        return min(self.memory_bytes, self.budget_bytes)

    def without(self, released: Collection[LoadedModel]) -> Room:
        """The room as it would be if these were unloaded as well."""
        return Room(self.state, self.device, [*self.released, *released])

    def making(self, needed_bytes: int) -> Sequence[LoadedModel]:
        """The models that must go, on whatever device, so that so many of the available bytes are free.

        The least recently used go first, and only those that bring what lacks: memory of the device, or budget.
        """
        lacking_memory = needed_bytes - self.free_bytes
        lacking_budget = needed_bytes + self.state.loaded_bytes - self.state.budget_bytes
        going = []
        for model in sorted(self.state.models, key=lambda model: model.used_at):
            here = model.device == self.device.id
            if not self._stays(model) and (lacking_budget > 0 or (here and lacking_memory > 0)):
                going.append(model)
                lacking_budget -= model.weights_bytes
                lacking_memory -= model.weights_bytes if here else 0
        return going

    def _on_device(self) -> Iterable[LoadedModel]:
        return (model for model in self.state.models if model.device == self.device.id)

    def _stays(self, model: LoadedModel) -> bool:
        return (model.pinned or model.in_use) and model not in self.released


@dataclass(frozen=True)
class Placement:
    """Where one more model goes, and which models go for it."""

    device: Device
    going: Sequence[LoadedModel]


def placement(state: HostState, needed_bytes: int) -> Placement | None:
    """The device of a worker where the fewest bytes must go for a model, and of those the one with most room.

    Returns:
        None where no device has so many bytes available: then nothing should go.
    """
    rooms = [Room(state, device) for device in state.devices]
    possible = [
        Placement(room.device, room.making(needed_bytes)) for room in rooms if needed_bytes <= room.available_bytes
    ]
    return min(possible, key=lambda each: (total_bytes(each.going), -each.device.free_bytes), default=None)


def total_bytes(models: Iterable[LoadedModel]) -> int:
    """Bytes of the weights of loaded models."""
    return sum(model.weights_bytes for model in models)

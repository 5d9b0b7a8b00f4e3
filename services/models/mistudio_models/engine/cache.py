"""The models that a worker holds in memory: loaded once, used by many jobs, the least recently used let go first."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Protocol
from uuid import UUID

from mistudio_models.domain.loading import Device, HostState, LoadedModel
from mistudio_models.domain.weights import LoadSettings, Need
from mistudio_models.engine.devices import Devices
from mistudio_models.engine.loads import Loaded, Observer
from mistudio_servicekit.errors import ModelNotLoaded, OutOfMemory, ResourceInUse, Unavailable

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Key:
    """What tells loaded models apart.

    Attributes:
        model_id: UUID of the model.
        epoch: of its files.
        settings: how it is held, with every default filled in.
    """

    model_id: UUID
    epoch: int
    settings: LoadSettings


@dataclass(frozen=True)
class Wanted:
    """A model that a job wants in memory.

    Attributes:
        key: which, and how.
        repo_id: Hub repository.
        pin: whether it stays until it is unloaded by a command.
        job_id: the job.
    """

    key: Key
    repo_id: str
    pin: bool
    job_id: UUID


class Loader(Protocol):
    """Loads one model in one way; see `loader.ModelLoader`."""

    def need(self) -> Need:
        """The memory that it takes."""

    def load(self, device: str, observer: Observer) -> Loaded:
        """The model, on the device of this id, and proved."""


@dataclass
class _Held:
    """A model in memory: as others see it, the model itself, and how many work with it."""

    seen: LoadedModel
    model: Any
    users: int = 0

    @property
    def bytes(self) -> int:
        return self.seen.memory.measured_weights_bytes

    @property
    def evictable(self) -> bool:
        return not self.users and not self.seen.pinned

    def touch(self, *, pin: bool = False) -> LoadedModel:
        self.seen = replace(self.seen, used_at=datetime.now(UTC), pinned=self.seen.pinned or pin, in_use=self.users > 0)
        return self.seen


class ModelCache:
    """Holds models on the devices of one worker. It is the worker's `mistudio_jobs.keeping.Keeper`, and thread-safe.

    Args:
        devices: of the worker.
        budget_bytes: most bytes of weights that it holds at once.
    """

    def __init__(self, devices: Devices, budget_bytes: int) -> None:
        self._devices = devices
        self._budget_bytes = budget_bytes
        self._held: dict[Key, _Held] = {}
        self._lock = Lock()
        # Loads come one after another: two at once could not know how much memory is left for each.
        self._loading = Lock()

    @property
    def kind(self) -> str:
        """What torch calls its devices: `cpu` or `cuda`."""
        return self._devices.kind

    @property
    def keeps(self) -> bool:
        """Whether it holds a model; see `Keeper.keeps`."""
        return bool(self._held)

    def hold(self, wanted: Wanted, loader: Loader, observer: Observer) -> LoadedModel:
        """The model in memory: the one that is there, or loaded now. Equal requests of several threads load it once.

        Args:
            wanted: the model.
            loader: loads it if need be.
            observer: follows the load, and may stop it.

        Raises:
            OutOfMemory: no device has room for it, also when all were unloaded that may be.
            Unavailable: the worker has no device.
            Exception: what `loader` or `observer` raises; nothing of the model stays in memory then.
        """
        with self._one_at_a_time(observer):
            there = self._touched(wanted)
            return self._load(wanted, loader, observer) if there is None else there

    @contextmanager
    def using(self, key: Key) -> Iterator[Any]:
        """The loaded model itself, which stays in memory for this block.

        Raises:
            ModelNotLoaded: it is not there.
        """
        with self._lock:
            held = self._held.get(key)
            if held is None:
                raise _not_loaded(key.model_id, key.settings)
            held.users += 1
            held.touch()
        try:
            yield held.model
        finally:
            with self._lock:
                held.users -= 1
                held.touch()

    def unload(self, model_id: UUID, settings: LoadSettings) -> LoadedModel:
        """Let a model go, pinned or not, and give its memory back; as it was held.

        Raises:
            ModelNotLoaded: it is not there, or not held in this way.
            ResourceInUse: a job works with it.
        """
        with self._lock:
            keys = [key for key in self._held if (key.model_id, key.settings) == (model_id, settings)]
            if not keys:
                raise _not_loaded(model_id, settings)
            seen = [self._held[key].seen for key in keys]
            if any(self._held[key].users for key in keys):
                raise _in_use(seen[0])
            self._drop(keys)
        self._devices.give_back()
        return seen[-1]

    def state(self) -> Mapping[str, Any]:
        """What its devices are and what it holds: `domain.loading.HostState` as JSON; see `Keeper.state`."""
        return self.host_state().to_json()

    def host_state(self) -> HostState:
        """What its devices are and what it holds."""
        devices = tuple(self._devices.now())
        with self._lock:
            return HostState(devices, self._budget_bytes, tuple(held.seen for held in self._held.values()))

    def command(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do `{"unload": {"model_id": …, "settings": …}}`; see `Keeper.command`.

        Returns:
            `unloaded`: the model as it was held (`domain.loading.LoadedModel` as JSON), and `freed_bytes`.

        Raises:
            ModelNotLoaded, ResourceInUse: see `unload`.
        """
        wanted = payload["unload"]
        unloaded = self.unload(UUID(wanted["model_id"]), LoadSettings.from_json(wanted["settings"]))
        return {"unloaded": unloaded.to_json(), "freed_bytes": unloaded.memory.measured_weights_bytes}

    @contextmanager
    def _one_at_a_time(self, observer: Observer) -> Iterator[None]:
        while not self._loading.acquire(timeout=_LOOK_SECONDS):
            observer.waiting()
        try:
            yield
        finally:
            self._loading.release()

    def _touched(self, wanted: Wanted) -> LoadedModel | None:
        with self._lock:
            held = self._held.get(wanted.key)
            return held.touch(pin=wanted.pin) if held is not None else None

    def _load(self, wanted: Wanted, loader: Loader, observer: Observer) -> LoadedModel:
        try:
            device = self._make_room(loader.need())
            loaded = loader.load(device, observer)
        except BaseException as error:
            _forget_locals(error)
            self._devices.give_back()
            raise
        seen = _seen(wanted, loaded, device)
        with self._lock:
            self._held[wanted.key] = _Held(seen, loaded.model)
        return seen

    def _make_room(self, need: Need) -> str:
        """Unload what must go so that `need` fits a device, and return that device's id.

        The device is that where the fewest bytes must go, and of those the one with most room. Nothing is unloaded
        where unloading everything would not do.
        """
        devices = self._devices.now()
        with self._lock:
            plans = [(device, self._going(need.peak_bytes, device)) for device in devices]
            possible = [(device, going) for device, going in plans if going is not None]
            if not possible:
                raise _no_room(need, devices, self._budget_bytes)
            device, going = min(possible, key=lambda plan: (self._bytes(plan[1]), -plan[0].free_bytes))
            for key in going:
                log.info("Model %s in %s makes room on %s", key.model_id, key.settings, device.id)
            self._drop(going)
        if going:
            self._devices.give_back()
        return device.id

    def _going(self, needed_bytes: int, device: Device) -> list[Key] | None:
        """The models that must go to make room on the device, least recently used first; None where none helps."""
        short_of_memory = needed_bytes - device.free_bytes
        short_of_budget = needed_bytes + self._bytes(self._held) - self._budget_bytes
        going = []
        for key, held in sorted(self._held.items(), key=lambda item: item[1].seen.used_at):
            here = held.seen.device == device.id
            if held.evictable and (short_of_budget > 0 or (here and short_of_memory > 0)):
                going.append(key)
                short_of_budget -= held.bytes
                short_of_memory -= held.bytes if here else 0
        return going if max(short_of_memory, short_of_budget) <= 0 else None

    def _bytes(self, keys: Sequence[Key] | Mapping[Key, Any]) -> int:
        return sum(self._held[key].bytes for key in keys)

    def _drop(self, keys: Sequence[Key]) -> None:
        for key in keys:
            del self._held[key]


def _seen(wanted: Wanted, loaded: Loaded, device: str) -> LoadedModel:
    now = datetime.now(UTC)
    return LoadedModel(
        model_id=wanted.key.model_id,
        epoch=wanted.key.epoch,
        repo_id=wanted.repo_id,
        device=device,
        settings=wanted.key.settings,
        memory=loaded.memory,
        unquantized=loaded.need.unquantized,
        pinned=wanted.pin,
        in_use=False,
        load_seconds=loaded.load_seconds,
        forward_seconds=loaded.forward_seconds,
        loaded_at=now,
        used_at=now,
        job_id=wanted.job_id,
        quantization=loaded.quantization,
    )


def _forget_locals(error: BaseException | None) -> None:
    """Let go of what the frames of an error hold: half a model."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _no_room(need: Need, devices: Sequence[Device], budget_bytes: int) -> OutOfMemory | Unavailable:
    if not devices:
        return Unavailable(
            "The worker has no GPU that it can use",
            next_step="Look at the worker's host: its driver, and whether the worker may see a GPU",
        )
    free = ", ".join(f"{device.id} has {max(0, device.free_bytes):,} free" for device in devices)
    return OutOfMemory(
        f"Loading the model in {need.settings} needs {need.peak_bytes:,} bytes at its highest; {free}, the worker may "
        f"hold {budget_bytes:,} bytes of models, and what may be unloaded does not make room",
        next_step="Load it in a smaller format, or unload other models first",
    )


def _not_loaded(model_id: UUID, settings: LoadSettings) -> ModelNotLoaded:
    return ModelNotLoaded(
        f"Model {model_id} is not loaded in {settings} on this worker",
        next_step="List the loaded models to see which are",
        metadata={"subject": f"model/{model_id}"},
    )


def _in_use(model: LoadedModel) -> ResourceInUse:
    return ResourceInUse(
        f"A job works with model {model.model_id}, held in {model.settings} on {model.device}",
        next_step="Wait until the job has ended, or cancel it",
        metadata={"subject": f"model/{model.model_id}"},
    )

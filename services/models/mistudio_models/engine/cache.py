"""The models that a worker holds in memory: loaded once, used by many jobs, the least recently used let go first."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Protocol
from uuid import UUID

from mistudio_models.domain.loading import Device, Eviction, HostState, LoadedModel
from mistudio_models.domain.room import placement
from mistudio_models.domain.weights import LoadSettings, Need
from mistudio_models.engine.devices import Devices
from mistudio_models.engine.loads import Loaded, Observer
from mistudio_servicekit.errors import ModelNotLoaded, OutOfMemory, ResourceInUse, Unavailable

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_KEPT_EVICTIONS = 20


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
        self._evictions: deque[Eviction] = deque(maxlen=_KEPT_EVICTIONS)
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
            return self._state(devices)

    def command(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do `{"unload": {"model_id": …, "settings": …}}`; see `Keeper.command`.

        Returns:
            `unloaded`: the model as it was held (`domain.loading.LoadedModel` as JSON), and `freed_bytes`.

        Raises:
            ModelNotLoaded, ResourceInUse: see `unload`.
        """
        wanted = payload["unload"]
        unloaded = self.unload(UUID(wanted["model_id"]), LoadSettings.from_json(wanted["settings"]))
        return {"unloaded": unloaded.to_json(), "freed_bytes": unloaded.weights_bytes}

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
            device = self._make_room(loader.need(), wanted)
            loaded = loader.load(device, observer)
        except BaseException as error:
            _forget_locals(error)
            self._devices.give_back()
            raise
        seen = _seen(wanted, loaded, device)
        with self._lock:
            self._held[wanted.key] = _Held(seen, loaded.model)
        return seen

    def _make_room(self, need: Need, wanted: Wanted) -> str:
        """Unload what must go so that `need` fits a device (see `domain.room.placement`); that device's id.

        Nothing is unloaded where unloading everything would not do.
        """
        devices = tuple(self._devices.now())
        with self._lock:
            state = self._state(devices)
            found = placement(state, need.peak_bytes)
            if found is None:
                raise _no_room(need, state)
            for model in found.going:
                self._evict(model, wanted)
        if found.going:
            self._devices.give_back()
        return found.device.id

    def _evict(self, model: LoadedModel, wanted: Wanted) -> None:
        log.info("Model %s in %s makes room on %s", model.model_id, model.settings, model.device)
        self._drop([Key(model.model_id, model.epoch, model.settings)])
        self._evictions.append(_eviction(model, wanted))

    def _state(self, devices: tuple[Device, ...]) -> HostState:
        held = tuple(held.seen for held in self._held.values())
        return HostState(devices, self._budget_bytes, held, tuple(self._evictions))

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


def _eviction(model: LoadedModel, wanted: Wanted) -> Eviction:
    return Eviction(
        model_id=model.model_id,
        repo_id=model.repo_id,
        device=model.device,
        settings=model.settings,
        quantization=model.quantization,
        freed_bytes=model.weights_bytes,
        for_model_id=wanted.key.model_id,
        for_repo_id=wanted.repo_id,
        job_id=wanted.job_id,
        evicted_at=datetime.now(UTC),
    )


def _no_room(need: Need, state: HostState) -> OutOfMemory | Unavailable:
    if not state.devices:
        return Unavailable(
            "The worker has no GPU that it can use",
            next_step="Look at the worker's host: its driver, and whether the worker may see a GPU",
        )
    free = ", ".join(f"{device.id} has {max(0, device.free_bytes):,} free" for device in state.devices)
    return OutOfMemory(
        f"Loading the model in {need.settings} needs {need.peak_bytes:,} bytes at its highest; {free}, the worker may "
        f"hold {state.budget_bytes:,} bytes of models, and what may be unloaded does not make room",
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

"""Models in the memory of workers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from mistudio_models.domain.weights import LoadSettings, UnquantizedModules


@dataclass(frozen=True)
class Device:
    """Something that can hold a model.

    Attributes:
        id: on its host: `cpu`, `cuda:0`.
        name: what it is, for example `NVIDIA H200`.
        total_bytes: memory in all.
        free_bytes: memory that is free.
    """

    id: str
    name: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True)
class Measurement:
    """What loading took, beside what was predicted; all sizes in bytes."""

    predicted_weights_bytes: int
    measured_weights_bytes: int
    predicted_load_peak_bytes: int
    measured_load_peak_bytes: int


@dataclass(frozen=True)
class LoadedModel:
    """A model in the memory of a worker.

    Attributes:
        model_id: UUID of the model.
        epoch: of the model's files.
        repo_id: Hub repository.
        device: that holds it, for example `cuda:0`.
        settings: how it is held, with every default filled in.
        memory: what it takes.
        unquantized: modules that stayed unquantized.
        pinned: whether it stays until it is unloaded by a call.
        in_use: whether a job is working with it.
        load_seconds: that loading took, the proof by a forward pass included.
        forward_seconds: that the forward pass took.
        loaded_at: when it was loaded.
        used_at: when it was last used.
        job_id: the job that loaded it.
        quantization: how its weights are quantized in its files already, such as `gptq`: `settings` then tell of all
            others; empty where they are not.
    """

    model_id: UUID
    epoch: int
    repo_id: str
    device: str
    settings: LoadSettings
    memory: Measurement
    unquantized: tuple[UnquantizedModules, ...]
    pinned: bool
    in_use: bool
    load_seconds: float
    forward_seconds: float
    loaded_at: datetime
    used_at: datetime
    job_id: UUID
    quantization: str = ""

    @property
    def weights_bytes(self) -> int:
        """Bytes of its weights, as measured."""
        return self.memory.measured_weights_bytes

    @property
    def held_in(self) -> str:
        """How it is held, in words: `BF16`, `NF4 computing in FP16`, `gptq computing in BF16`."""
        if not self.quantization:
            return str(self.settings)
        return f"{self.quantization} computing in {self.settings.compute_dtype}"

    def to_json(self) -> dict[str, Any]:
        """This as JSON-ready values."""
        own = {"model_id": str(self.model_id), "job_id": str(self.job_id)}
        times = {"loaded_at": self.loaded_at.isoformat(), "used_at": self.used_at.isoformat()}
        return {**asdict(self), **own, **times}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` described."""
        typed = {
            "model_id": UUID(value["model_id"]),
            "job_id": UUID(value["job_id"]),
            "settings": LoadSettings.from_json(value["settings"]),
            "memory": Measurement(**value["memory"]),
            "unquantized": tuple(UnquantizedModules(**modules) for modules in value["unquantized"]),
            "loaded_at": datetime.fromisoformat(value["loaded_at"]),
            "used_at": datetime.fromisoformat(value["used_at"]),
        }
        return cls(**{**value, **typed})


_EVICTION_IDS = ("model_id", "for_model_id", "job_id")


@dataclass(frozen=True)
class Eviction:
    """A loaded model that made room for another one.

    Attributes:
        model_id: UUID of the model that went.
        repo_id: its Hub repository.
        device: that held it, for example `cuda:0`.
        settings: how it was held, with every default filled in.
        quantization: how its weights are quantized in its files already; empty where they are not.
        freed_bytes: bytes of weights that it gave back.
        for_model_id: UUID of the model that it made room for.
        for_repo_id: that one's Hub repository.
        job_id: the job that loaded that one.
        evicted_at: when it went.
    """

    model_id: UUID
    repo_id: str
    device: str
    settings: LoadSettings
    quantization: str
    freed_bytes: int
    for_model_id: UUID
    for_repo_id: str
    job_id: UUID
    evicted_at: datetime

    def to_json(self) -> dict[str, Any]:
        """This as JSON-ready values."""
        ids = {name: str(getattr(self, name)) for name in _EVICTION_IDS}
        return {**asdict(self), **ids, "evicted_at": self.evicted_at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` described."""
        ids = {name: UUID(value[name]) for name in _EVICTION_IDS}
        settings, evicted_at = LoadSettings.from_json(value["settings"]), datetime.fromisoformat(value["evicted_at"])
        return cls(**{**value, **ids, "settings": settings, "evicted_at": evicted_at})


@dataclass(frozen=True)
class HostState:
    """What a worker can hold and holds: the state that it tells (`jobs.v1.Worker.state`).

    Attributes:
        devices: its devices.
        budget_bytes: most bytes of weights that it holds at once.
        models: what it holds.
        evictions: models that lately made room for others, oldest first.
    """

    devices: tuple[Device, ...]
    budget_bytes: int
    models: tuple[LoadedModel, ...]
    evictions: tuple[Eviction, ...] = ()

    @property
    def loaded_bytes(self) -> int:
        """Bytes of weights that it holds."""
        return sum(model.weights_bytes for model in self.models)

    def to_json(self) -> dict[str, Any]:
        """This state as JSON-ready values."""
        return {
            "devices": [asdict(device) for device in self.devices],
            "budget_bytes": self.budget_bytes,
            "models": [model.to_json() for model in self.models],
            "evictions": [eviction.to_json() for eviction in self.evictions],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The state that `to_json` described; an empty one for a worker that has not told yet."""
        return cls(
            devices=tuple(Device(**device) for device in value.get("devices", ())),
            budget_bytes=value.get("budget_bytes", 0),
            models=tuple(LoadedModel.from_json(model) for model in value.get("models", ())),
            evictions=tuple(Eviction.from_json(eviction) for eviction in value.get("evictions", ())),
        )


@dataclass(frozen=True)
class Host:
    """A worker that can hold models.

    Attributes:
        worker: its name.
        pool: whose jobs it takes: `cpu` or `gpu`.
        host: that it runs on.
        state: what it can hold and holds.
    """

    worker: str
    pool: str
    host: str
    state: HostState

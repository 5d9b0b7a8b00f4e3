"""Models in the memory of workers, and the workers that can hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console

from mistudio.models.v2 import loading_pb2, models_service_pb2
from mistudio_client.cli.choices import COMPUTE_DTYPES, written
from mistudio_client.cli.rendering.facts import known_size
from mistudio_client.cli.rendering.formats import byte_size, duration, moment
from mistudio_client.cli.rendering.memory import device_text
from mistudio_client.cli.rendering.models import settings_text
from mistudio_client.cli.rendering.tables import show_table

_MODEL_COLUMNS = ("model", "id", "format", "size", "predicted", "device", "worker", "state", "loaded in", "last used")
_EVICTION_COLUMNS = ("made room", "id", "format", "size", "device", "worker", "for", "job", "went")
_HOST_COLUMNS = ("worker", "pool", "host", "devices", "free", "held", "budget")


def show_loaded(console: Console, listing: models_service_pb2.ListLoadedModelsResponse) -> None:
    """Print which models are loaded where, which ones made room for them, and which workers there are."""
    show_models(console, listing.models)
    show_evictions(console, listing.evictions)
    console.print()
    if listing.hosts:
        show_table(console, _HOST_COLUMNS, map(_host_row, listing.hosts), "free held budget")
    else:
        console.print("No worker is there that could hold a model.", soft_wrap=True)


def show_models(console: Console, models: Sequence[loading_pb2.LoadedModel]) -> None:
    """Print loaded models, or that there is none."""
    if models:
        show_table(console, _MODEL_COLUMNS, map(_model_row, models), "size predicted")
    else:
        console.print("No model is loaded.", soft_wrap=True)


def show_evictions(console: Console, evictions: Iterable[loading_pb2.Eviction]) -> None:
    """Print which models made room for others, if any did."""
    rows = [_eviction_row(eviction) for eviction in evictions]
    if rows:
        console.print()
        show_table(console, _EVICTION_COLUMNS, rows, "size")


def place_text(loaded: loading_pb2.LoadedModel) -> str:
    """A loaded model by how and where it is held: `nf4 on cuda:0 of worker a`."""
    return f"{_held_in(loaded)} on {loaded.device} of worker {loaded.worker}"


def _held_in(loaded: loading_pb2.LoadedModel | loading_pb2.Eviction) -> str:
    if not loaded.quantization:
        return settings_text(loaded.settings)
    return f"{loaded.quantization}, computing in {written(COMPUTE_DTYPES, loaded.settings.compute_dtype)}"


def _model_row(loaded: loading_pb2.LoadedModel) -> Sequence[str]:
    held = [word for word, is_so in (("pinned", loaded.pinned), ("in use", loaded.in_use)) if is_so]
    return (
        loaded.repo_id,
        loaded.model_id,
        _held_in(loaded),
        byte_size(loaded.memory.measured_weights_bytes),
        known_size(loaded.memory.predicted_weights_bytes),
        loaded.device,
        loaded.worker,
        ", ".join(held),
        duration(loaded.load_seconds),
        moment(loaded.use_time),
    )


def _eviction_row(eviction: loading_pb2.Eviction) -> Sequence[str]:
    return (
        eviction.repo_id,
        eviction.model_id,
        _held_in(eviction),
        byte_size(eviction.freed_bytes),
        eviction.device,
        eviction.worker,
        eviction.for_repo_id,
        eviction.job_id,
        moment(eviction.evict_time),
    )


def _host_row(host: loading_pb2.ModelHost) -> Sequence[str]:
    return (
        host.worker,
        host.pool,
        host.host,
        ", ".join(map(device_text, host.devices)),
        _sizes(device.free_bytes for device in host.devices),
        byte_size(host.loaded_bytes),
        known_size(host.budget_bytes),
    )


def _sizes(sizes: Iterable[int]) -> str:
    return ", ".join(map(byte_size, sizes))

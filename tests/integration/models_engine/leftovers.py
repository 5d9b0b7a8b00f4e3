"""What loads leave in the memory of the process that runs this: `python -m … FOLDER` prints bytes as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from uuid import uuid4

import psutil

from mistudio_models.domain.loading import LoadedModel
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.engine.allocator import give_back_memory
from mistudio_models.engine.cache import Key, ModelCache, Wanted
from mistudio_models.engine.devices import CpuDevice
from mistudio_servicekit.errors import JobCancelled
from tests.integration.models_engine.loading import BF16, INT8, NF4, Seen, loader

PLENTY = 10**12
MANY = 48


def of_a_failed_load(folder: Path) -> tuple[int, int]:
    """Bytes that a load cancelled near its end leaves while its error lives on, and bytes of the model."""
    cache = ModelCache(CpuDevice(), PLENTY)
    model_bytes = _load_and_unload(cache, folder, BF16).memory.measured_weights_bytes
    before = _resident_bytes()
    try:
        cache.hold(_wanted(BF16), loader(folder, BF16), Seen(_cancel))
    except JobCancelled as error:
        # The error is still there, with all that its frames hold: that is no longer half a model.
        assert error.__traceback__ is not None
        return psutil.Process().memory_info().rss - before, model_bytes
    raise AssertionError("the load was not cancelled")


def of_many_loads(folder: Path) -> tuple[int, int]:
    """Bytes that `MANY` loads and unloads in three formats leave, and bytes of the smallest of these."""
    cache, formats = ModelCache(CpuDevice(), PLENTY), (BF16, INT8, NF4)
    held = [_load_and_unload(cache, folder, settings) for settings in formats * 2]
    before = _resident_bytes()
    for number in range(MANY):
        _load_and_unload(cache, folder, formats[number % len(formats)])
    return _resident_bytes() - before, min(each.memory.measured_weights_bytes for each in held)


def _load_and_unload(cache: ModelCache, folder: Path, settings: LoadSettings) -> LoadedModel:
    wanted = _wanted(settings)
    cache.hold(wanted, loader(folder, settings), Seen())
    return cache.unload(wanted.key.model_id, settings)


def _wanted(settings: LoadSettings) -> Wanted:
    return Wanted(Key(uuid4(), 1, settings), "tiny/llama", False, uuid4())


def _cancel(done: int, total: int) -> None:
    if done > total * 0.8:
        raise JobCancelled("The job was cancelled", next_step="Retry it")


def _resident_bytes() -> int:
    give_back_memory()
    return psutil.Process().memory_info().rss


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(json.dumps({"failed load": of_a_failed_load(folder), "many loads": of_many_loads(folder)}))

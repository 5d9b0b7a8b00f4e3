"""The cache of loaded models: loaded once, let go in order, never one that is needed, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from uuid import UUID, uuid4

import pytest
import torch

from mistudio_models.domain.loading import Device, HostState, LoadedModel
from mistudio_models.domain.weights import LoadSettings, Need
from mistudio_models.engine.cache import Key, ModelCache, Wanted
from mistudio_models.engine.devices import CpuDevice
from mistudio_models.engine.loads import Loaded, Observer
from mistudio_servicekit.errors import JobCancelled, ModelNotLoaded, OutOfMemory, ResourceInUse, Unavailable
from tests.model_families import make_model

from .loading import BF16, FP32, NF4, Seen, loader

PLENTY = 10**12


@dataclass
class SmallDevice:
    """A device of a size that the test chooses, with as much free as the test says."""

    free_bytes: int
    id: str = "cpu"
    kind: str = "cpu"
    given_back: int = 0

    def now(self) -> Sequence[Device]:
        return [Device(self.id, "small", 2 * self.free_bytes, self.free_bytes)]

    def give_back(self) -> None:
        self.given_back += 1


@dataclass
class Counting:
    """A real loader that counts, and waits for `go` before it loads."""

    folder: Path
    settings: LoadSettings
    loads: int = 0
    go: Event = field(default_factory=Event)
    begun: Event = field(default_factory=Event)

    def need(self) -> Need:
        return loader(self.folder, self.settings).need()

    def load(self, device: str, observer: Observer) -> Loaded:
        self.loads += 1
        self.begun.set()
        assert self.go.wait(60)
        return loader(self.folder, self.settings).load("cpu", observer)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model."""
    return make_model("llama", tmp_path_factory.mktemp("tiny"))


def wanted(settings: LoadSettings = BF16, *, pin: bool = False, model_id: UUID | None = None) -> Wanted:
    return Wanted(Key(model_id or uuid4(), 1, settings), "tiny/llama", pin, uuid4())


def hold(cache: ModelCache, folder: Path, want: Wanted) -> LoadedModel:
    return cache.hold(want, loader(folder, want.key.settings), Seen())


def keeps(cache: ModelCache) -> bool:
    return cache.keeps


def held(cache: ModelCache) -> set[UUID]:
    return {model.model_id for model in HostState.from_json(cache.state()).models}


def room_for(folder: Path, count: int) -> int:
    """A budget for so many models: each as it lies in memory, and the last one while it is loaded."""
    need = loader(folder, BF16).need()
    return (count - 1) * need.weights_bytes + need.peak_bytes


def test_many_threads_that_want_the_same_model_load_it_once(folder: Path) -> None:
    cache, want, counting = ModelCache(CpuDevice(), PLENTY), wanted(), Counting(folder, BF16)
    observers = [Seen() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(cache.hold, want, counting, observer) for observer in observers]
        assert counting.begun.wait(60)
        counting.go.set()
        answers = [each.result() for each in asked]
    assert counting.loads == 1
    assert {(answer.model_id, answer.loaded_at) for answer in answers} == {(want.key.model_id, answers[0].loaded_at)}


def test_whoever_waits_for_another_load_can_be_cancelled(folder: Path) -> None:
    cache, counting = ModelCache(CpuDevice(), PLENTY), Counting(folder, BF16)

    class Cancelled(Seen):
        def waiting(self) -> None:
            raise JobCancelled("The job was cancelled", next_step="Retry it")

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(cache.hold, wanted(), counting, Seen())
        assert counting.begun.wait(60)
        with pytest.raises(JobCancelled):
            cache.hold(wanted(), counting, Cancelled())
        counting.go.set()
        first.result()
    assert counting.loads == 1


def test_a_model_that_is_there_is_touched_and_pinned_where_that_is_asked_for(folder: Path) -> None:
    cache, want = ModelCache(CpuDevice(), PLENTY), wanted()
    first = hold(cache, folder, want)
    again = cache.hold(Wanted(want.key, "tiny/llama", True, uuid4()), Counting(folder, BF16), Seen())
    assert (first.pinned, again.pinned) == (False, True)
    assert again.used_at > first.used_at and again.loaded_at == first.loaded_at and again.job_id == want.job_id
    assert hold(cache, folder, want).pinned


def test_one_model_is_held_in_several_ways(folder: Path) -> None:
    cache, model_id = ModelCache(CpuDevice(), PLENTY), uuid4()
    for settings in (BF16, NF4):
        hold(cache, folder, wanted(settings, model_id=model_id))
    with cache.using(Key(model_id, 1, BF16)) as plain, cache.using(Key(model_id, 1, NF4)) as quantized:
        assert plain is not quantized


def test_the_least_recently_used_model_makes_room(folder: Path) -> None:
    cache = ModelCache(CpuDevice(), room_for(folder, 2))
    first, second, third = wanted(), wanted(), wanted()
    for want in (first, second, first, third):
        hold(cache, folder, want)
    assert held(cache) == {first.key.model_id, third.key.model_id}


def test_a_pinned_model_and_one_that_a_job_works_with_stay(folder: Path) -> None:
    cache = ModelCache(CpuDevice(), room_for(folder, 3))
    pinned, used, free, last = wanted(pin=True), wanted(), wanted(), wanted()
    for want in (pinned, used, free):
        hold(cache, folder, want)
    with cache.using(used.key):
        hold(cache, folder, last)
    assert held(cache) == {want.key.model_id for want in (pinned, used, last)}


def test_nothing_is_unloaded_where_that_would_not_make_room(folder: Path) -> None:
    cache = ModelCache(CpuDevice(), room_for(folder, 2))
    pinned, free = wanted(pin=True), wanted()
    for want in (pinned, free):
        hold(cache, folder, want)
    with pytest.raises(OutOfMemory, match=f"needs .* bytes .*the worker may hold {room_for(folder, 2):,} bytes"):
        hold(cache, folder, wanted(FP32))
    assert held(cache) == {pinned.key.model_id, free.key.model_id}


def test_a_device_with_too_little_free_memory_gets_room_by_unloading(folder: Path) -> None:
    need = loader(folder, BF16).need()
    device = SmallDevice(need.peak_bytes)
    cache = ModelCache(device, PLENTY)
    first, second = wanted(), wanted()
    hold(cache, folder, first)
    device.free_bytes = need.peak_bytes - need.weights_bytes
    before = device.given_back
    hold(cache, folder, second)
    assert held(cache) == {second.key.model_id} and device.given_back > before


def test_a_device_that_is_too_small_is_told_with_what_is_needed_and_what_is_free(folder: Path) -> None:
    cache = ModelCache(SmallDevice(1000), PLENTY)
    with pytest.raises(
        OutOfMemory, match=f"BF16 needs {loader(folder, BF16).need().peak_bytes:,} .*cpu has 1,000 free"
    ):
        hold(cache, folder, wanted())


def test_a_worker_without_a_device_says_so(folder: Path) -> None:
    class NoDevice(SmallDevice):
        def now(self) -> Sequence[Device]:
            return []

    with pytest.raises(Unavailable, match="no GPU"):
        hold(ModelCache(NoDevice(1), PLENTY), folder, wanted())


def test_an_unloaded_model_is_gone_pinned_or_not(folder: Path) -> None:
    cache, want = ModelCache(CpuDevice(), PLENTY), wanted(pin=True)
    seen = hold(cache, folder, want)
    assert keeps(cache)
    command = {"unload": {"model_id": str(want.key.model_id), "settings": BF16.to_json()}}
    answer = cache.command(command)
    assert LoadedModel.from_json(answer["unloaded"]) == seen
    assert answer["freed_bytes"] == seen.memory.measured_weights_bytes
    assert not keeps(cache) and held(cache) == set()
    with pytest.raises(ModelNotLoaded, match=str(want.key.model_id)):
        cache.command(command)


def test_a_model_that_a_job_works_with_is_not_unloaded(folder: Path) -> None:
    cache, want = ModelCache(CpuDevice(), PLENTY), wanted()
    hold(cache, folder, want)
    with cache.using(want.key) as model:
        assert [model.in_use for model in cache.host_state().models] == [True]
        with pytest.raises(ResourceInUse, match=str(want.key.model_id)):
            cache.unload(want.key.model_id, BF16)
        assert model(torch.arange(4)[None]).logits.shape[1] == 4
    assert cache.unload(want.key.model_id, BF16).in_use is False


def test_a_model_that_is_not_there_cannot_be_used() -> None:
    key = wanted().key
    with pytest.raises(ModelNotLoaded, match=str(key.model_id)), ModelCache(CpuDevice(), PLENTY).using(key):
        pass


def test_the_state_tells_devices_budget_and_models_as_json(folder: Path) -> None:
    cache, want = ModelCache(CpuDevice(), PLENTY), wanted(NF4)
    seen = hold(cache, folder, want)
    state = HostState.from_json(cache.state())
    assert state.models == (seen,) and state.budget_bytes == PLENTY
    (device,) = state.devices
    assert device.id == "cpu" and device.name and 0 < device.free_bytes < device.total_bytes
    assert seen.unquantized and seen.repo_id == "tiny/llama" and seen.device == "cpu"

"""What a verdict says to fit is never refused by the cache in the same state, and the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from mistudio_models.domain.loading import Device, Host, HostState, LoadedModel, Measurement
from mistudio_models.domain.weights import LoadSettings, Need, WeightFormat
from mistudio_models.engine.cache import Key, ModelCache, Wanted
from mistudio_models.engine.loads import Loaded, Observer
from mistudio_models.service.verdicts import Verdict, device_verdict, targets
from mistudio_servicekit.errors import OutOfMemory

_BF16 = LoadSettings(WeightFormat.BF16)
_SIZES = st.integers(-10, 120)
_DEVICES = ("cuda:0", "cuda:1")


@dataclass(frozen=True)
class Wish:
    """A model that is held before: its size, where, and whether it stays."""

    size: int
    device: str
    pinned: bool
    in_use: bool


@dataclass
class Frees:
    """Two devices whose free memory the test sets."""

    free: dict[str, int] = field(default_factory=dict)
    kind: str = "cuda"

    def now(self) -> Sequence[Device]:
        return [Device(name, "", 1000, free) for name, free in self.free.items()]

    def give_back(self) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Sized:
    """Loads nothing, of a size."""

    size: int
    need_bytes: int = 0

    def need(self) -> Need:
        return Need(_BF16, self.need_bytes, self.need_bytes, 0, 0, 0, (), "modules")

    def load(self, device: str, observer: Observer) -> Loaded:
        return Loaded(object(), self.need(), Measurement(0, self.size, 0, self.size), 0.0, 0.0)


class Silent:
    """Follows nothing."""

    def waiting(self) -> None:
        """Nothing."""

    def reading(self, done: int, total: int) -> None:
        """Nothing."""

    def proving(self) -> None:
        """Nothing."""


def _wanted(*, pin: bool = False) -> Wanted:
    model_id = uuid4()
    return Wanted(Key(model_id, 1, _BF16), f"made/{model_id}", pin, uuid4())


def _fill(cache: ModelCache, devices: Frees, wishes: Sequence[Wish], staying: ExitStack) -> None:
    """Hold these models, whatever room there is: none can be evicted while all are in use."""
    with ExitStack() as filling:
        for wish in wishes:
            devices.free = {wish.device: 1000}
            wanted = _wanted(pin=wish.pinned)
            cache.hold(wanted, Sized(wish.size), Silent())
            (staying if wish.in_use else filling).enter_context(cache.using(wanted.key))


def _held(cache: ModelCache) -> dict[UUID, LoadedModel]:
    return {model.model_id: model for model in cache.host_state().models}


_WISHES = st.builds(Wish, st.integers(0, 120), st.sampled_from(_DEVICES), st.booleans(), st.booleans())


@given(
    wishes=st.lists(_WISHES, max_size=5),
    free=st.fixed_dictionaries(dict.fromkeys(_DEVICES, _SIZES)),
    budget=st.integers(0, 400),
    needed=st.integers(0, 300),
)
def test_the_cache_loads_exactly_what_a_verdict_says_to_fit(
    wishes: list[Wish], free: dict[str, int], budget: int, needed: int
) -> None:
    devices = Frees()
    cache = ModelCache(devices, budget)
    with ExitStack() as staying:
        _fill(cache, devices, wishes, staying)
        devices.free = free
        before, wanted = _held(cache), _wanted()
        need = Sized(0, needed).need()
        judged = {
            target.device.id: device_verdict(need, [], target).verdict
            for target in targets([Host("w", "gpu", "rack", cache.host_state())])
        }
        fitting = {name for name, verdict in judged.items() if verdict is not Verdict.WONT_FIT}
        try:
            loaded = cache.hold(wanted, Sized(needed, needed), Silent())
        except OutOfMemory:
            assert not fitting
            assert _held(cache) == before
            return
        assert loaded.device in fitting
        after = _held(cache)
        gone = [before[model_id] for model_id in before.keys() - after.keys()]
        assert not any(model.pinned or model.in_use for model in gone)
        freed = sum(model.weights_bytes for model in gone if model.device == loaded.device)
        assert max(0, free[loaded.device]) + freed >= needed
        assert {eviction.model_id for eviction in cache.host_state().evictions} == {each.model_id for each in gone}
        assert needed == 0 or sum(model.weights_bytes for model in after.values()) <= budget


def test_models_that_made_room_are_told_with_what_they_made_it_for() -> None:
    devices = Frees({"cuda:0": 1000})
    cache = ModelCache(devices, 100)
    first, second = _wanted(), _wanted()
    cache.hold(first, Sized(60, 60), Silent())
    cache.hold(second, Sized(70, 70), Silent())
    (eviction,) = cache.host_state().evictions
    assert (eviction.model_id, eviction.repo_id, eviction.freed_bytes) == (first.key.model_id, first.repo_id, 60)
    assert (eviction.for_model_id, eviction.job_id) == (second.key.model_id, second.job_id)
    assert (eviction.device, eviction.settings) == ("cuda:0", _BF16)
    assert HostState.from_json(cache.state()) == cache.host_state()


def test_a_worker_remembers_its_last_evictions_only() -> None:
    cache = ModelCache(Frees({"cuda:0": 1000}), 100)
    wanted = [_wanted() for _ in range(50)]
    for each in wanted:
        cache.hold(each, Sized(60, 60), Silent())
    remembered = cache.host_state().evictions
    assert 10 <= len(remembered) < 49
    assert [each.model_id for each in remembered] == [each.key.model_id for each in wanted[-1 - len(remembered) : -1]]


def test_the_state_of_a_worker_that_tells_no_evictions_is_read() -> None:
    state: dict[str, Any] = ModelCache(Frees({"cuda:0": 5}), 7).host_state().to_json()
    del state["evictions"]
    assert HostState.from_json(state) == replace(HostState.from_json(state), evictions=())

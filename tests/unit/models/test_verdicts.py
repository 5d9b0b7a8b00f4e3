"""Whether a model fits a device: never said wrongly, always with numbers, and with a remedy where there is one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from mistudio_models.domain.loading import Device, Host, HostState, LoadedModel, Measurement
from mistudio_models.domain.weights import ComputeDtype, LoadSettings, Need, WeightFormat
from mistudio_models.service.verdicts import Alternative, Target, Verdict, device_verdict, in_words

_GB = 10**9
_SOME_ID = UUID("0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e")
_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def _need(weights: int, *, loading: int = 0, running: int = 0, format_: WeightFormat = WeightFormat.BF16) -> Need:
    return Need(
        LoadSettings(format_), weights, weights + loading, running // 2, running - running // 2, 0, (), "modules"
    )


def _loaded(size: int, *, name: str = "tiny/gpt", device: str = "cpu", pinned: bool = False, in_use: bool = False):
    memory = Measurement(size, size, size, size)
    settings = LoadSettings(WeightFormat.BF16)
    times = _SOME_TIME, _SOME_TIME
    return LoadedModel(
        _SOME_ID, 1, name, device, settings, memory, (), pinned, in_use, 1.0, 0.1, *times, job_id=_SOME_ID
    )


def _room(free: int, *models: LoadedModel, total: int = 100 * _GB, budget: int = 1000 * _GB) -> Target:
    device = Device("cpu", "Some CPU", total, free)
    return Target(Host("rack-1", "cpu", "rack", HostState((device,), budget, models)), device)


def test_what_needs_less_than_is_free_fits():
    found = device_verdict(_need(20 * _GB), [], _room(60 * _GB))
    assert (found.worker, found.device.id, found.verdict) == ("rack-1", "cpu", Verdict.FITS)
    assert (found.needed_bytes, found.available_bytes, found.remedy) == (20 * _GB, 60 * _GB, "")
    assert "20.00 GB" in found.reason
    assert "60.00 GB free" in found.reason


def test_it_is_tight_with_less_than_a_tenth_of_the_device_to_spare():
    assert device_verdict(_need(50 * _GB), [], _room(60 * _GB)).verdict is Verdict.FITS
    assert device_verdict(_need(50 * _GB + 1), [], _room(60 * _GB)).verdict is Verdict.TIGHT
    assert device_verdict(_need(60 * _GB), [], _room(60 * _GB)).verdict is Verdict.TIGHT
    assert device_verdict(_need(60 * _GB + 1), [], _room(60 * _GB)).verdict is Verdict.WONT_FIT


def test_what_is_to_spare_is_measured_by_the_budget_where_the_worker_may_hold_less_than_the_device_has():
    small = {"total": 1000 * _GB, "budget": 10 * _GB}
    assert device_verdict(_need(9 * _GB), [], _room(500 * _GB, **small)).verdict is Verdict.FITS
    assert device_verdict(_need(9 * _GB + 1), [], _room(500 * _GB, **small)).verdict is Verdict.TIGHT


def test_a_model_that_is_quantized_in_its_files_is_told_by_that():
    model = replace(_loaded(50 * _GB, pinned=True), quantization="gptq")
    settings = LoadSettings(WeightFormat.BF16, compute_dtype=ComputeDtype.BF16)
    room = _room(10 * _GB, replace(model, settings=settings))
    assert "tiny/gpt (gptq computing in BF16)" in device_verdict(_need(20 * _GB), [], room).remedy


def test_the_higher_of_loading_and_running_counts_and_is_named():
    loading, running = _need(20 * _GB, loading=5 * _GB), _need(20 * _GB, running=5 * _GB)
    for need, when in ((loading, "while it is loaded"), (running, "while it runs")):
        found = device_verdict(need, [], _room(24 * _GB))
        assert (found.verdict, found.needed_bytes) == (Verdict.WONT_FIT, 25 * _GB)
        assert when in found.reason


def test_loaded_models_make_room_unless_they_are_pinned_in_use_or_elsewhere():
    assert device_verdict(_need(20 * _GB), [], _room(5 * _GB, _loaded(40 * _GB))).verdict is Verdict.FITS
    staying = (
        _loaded(40 * _GB, pinned=True), _loaded(40 * _GB, in_use=True), _loaded(40 * _GB, device="cuda:0"),
    )  # fmt: skip
    for model in staying:
        assert device_verdict(_need(20 * _GB), [], _room(5 * _GB, model)).verdict is Verdict.WONT_FIT


def test_the_workers_budget_bounds_what_may_be_used_less_the_models_that_stay():
    pinned = _loaded(30 * _GB, pinned=True)
    found = device_verdict(_need(21 * _GB), [], _room(90 * _GB, pinned, budget=50 * _GB))
    assert (found.verdict, found.available_bytes) == (Verdict.WONT_FIT, 20 * _GB)
    assert "budget leaves 20.00 GB" in found.reason


def test_the_first_alternative_that_fits_is_the_remedy():
    alternatives = [
        Alternative("Load it in INT8", _need(30 * _GB)),
        Alternative("Load it in NF4", _need(15 * _GB)),
        Alternative("Load it in NF4 with double quantization", _need(14 * _GB)),
    ]
    found = device_verdict(_need(60 * _GB), alternatives, _room(20 * _GB))
    assert found.remedy == "Load it in NF4: it then needs 15.00 GB"


def test_models_are_named_whose_unloading_makes_it_fit():
    small, large = _loaded(5 * _GB, name="a/small", pinned=True), _loaded(30 * _GB, name="a/large", pinned=True)
    found = device_verdict(_need(30 * _GB), [], _room(10 * _GB, small, large))
    assert found.remedy == "Unload a/large (BF16) from worker rack-1"
    found = device_verdict(_need(44 * _GB), [], _room(10 * _GB, small, large))
    assert found.remedy == "Unload a/large (BF16), a/small (BF16) from worker rack-1"


def test_a_model_in_use_is_unloaded_when_its_job_is_done():
    found = device_verdict(_need(30 * _GB), [], _room(10 * _GB, _loaded(30 * _GB, in_use=True)))
    assert found.remedy == "Unload tiny/gpt (BF16) from worker rack-1 when no job works with it any more"


def test_where_nothing_helps_the_reason_says_so():
    alternatives = [Alternative("Load it in NF4", _need(40 * _GB))]
    found = device_verdict(_need(90 * _GB), alternatives, _room(10 * _GB, _loaded(5 * _GB, pinned=True)))
    assert (found.verdict, found.remedy) == (Verdict.WONT_FIT, "")
    assert "nothing makes it fit: the smallest way to have it needs 40.00 GB" in found.reason
    assert "no smaller way" in device_verdict(_need(90 * _GB), [], _room(10 * _GB)).reason


def test_a_worker_that_has_not_told_its_budget_holds_nothing():
    assert device_verdict(_need(1), [], _room(60 * _GB, budget=0)).verdict is Verdict.WONT_FIT


def test_sizes_are_told_in_units_that_fit_them():
    assert (in_words(1_500_000), in_words(123_456_789_012)) == ("1.50 MB", "123.46 GB")


_SIZES = st.integers(0, 120 * _GB)
_MODELS = st.lists(
    st.builds(
        _loaded, _SIZES, pinned=st.booleans(), in_use=st.booleans(), device=st.sampled_from(["cpu", "cuda:0"])
    ),
    max_size=4,
)  # fmt: skip
_NEEDS = st.builds(_need, _SIZES, loading=_SIZES, running=_SIZES)


@given(need=_NEEDS, alternatives=st.lists(_NEEDS, max_size=3), models=_MODELS, free=_SIZES, total=_SIZES, budget=_SIZES)
def test_nothing_is_ever_said_to_fit_that_does_not(need, alternatives, models, free, total, budget):
    room = _room(free, *models, total=total, budget=budget)
    options = [Alternative(f"Option {number}", each) for number, each in enumerate(alternatives)]
    found = device_verdict(need, options, room)

    staying = [model for model in models if model.pinned or model.in_use]
    going = [model for model in models if model not in staying and model.device == "cpu"]
    memory = free + sum(model.memory.measured_weights_bytes for model in going)
    budget_left = budget - sum(model.memory.measured_weights_bytes for model in staying)

    def fits(peak: int) -> bool:
        return bool(peak <= memory and peak <= max(0, budget_left))

    assert (found.verdict is not Verdict.WONT_FIT) == fits(max(need.load_peak_bytes, need.run_peak_bytes))
    assert not (found.remedy and found.verdict is not Verdict.WONT_FIT)
    assert found.remedy.startswith("Option") == (
        found.verdict is Verdict.WONT_FIT and any(fits(each.peak_bytes) for each in alternatives)
    )
    if found.remedy.startswith("Option"):
        chosen = next(option for option in options if found.remedy.startswith(option.change))
        assert fits(chosen.need.peak_bytes)

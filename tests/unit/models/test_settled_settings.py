"""How a model is loaded, once everything that was not said is filled in."""

from __future__ import annotations

import pytest

from mistudio_models.domain.models import ModelFacts
from mistudio_models.domain.weights import ComputeDtype, LoadSettings, WeightFormat
from mistudio_models.service.load_settings import settle
from mistudio_servicekit.errors import InvalidArgument

_BF16_FILES = ModelFacts(parameters_by_dtype={"BF16": 1000, "F32": 10})
_NF4 = LoadSettings(WeightFormat.NF4, double_quantization=True)


def _settled(asked: LoadSettings, default: LoadSettings, facts: ModelFacts = _BF16_FILES) -> tuple[str, bool, str]:
    found = settle("settings", asked, default, facts)
    return found.format, found.double_quantization, found.compute_dtype


def test_a_request_goes_before_the_models_defaults_and_these_before_its_files():
    assert _settled(LoadSettings(WeightFormat.FP16), _NF4) == ("FP16", False, "FP16")
    assert _settled(LoadSettings(), _NF4) == ("NF4", True, "BF16")
    assert _settled(LoadSettings(), LoadSettings()) == ("BF16", False, "BF16")


def test_a_compute_dtype_counts_where_the_format_that_it_meets_is_quantized():
    asked = LoadSettings(compute_dtype=ComputeDtype.FP32)
    assert _settled(asked, _NF4) == ("NF4", True, "FP32")
    assert _settled(asked, LoadSettings()) == ("BF16", False, "BF16")


def test_files_that_are_quantized_stay_so_whatever_the_defaults_say():
    facts = ModelFacts(parameters_by_dtype={"I32": 1000}, quantization="gptq")
    assert _settled(LoadSettings(), _NF4, facts) == ("BF16", False, "BF16")
    assert _settled(LoadSettings(WeightFormat.FP16), LoadSettings(), facts) == ("FP16", False, "FP16")
    assert _settled(LoadSettings(), LoadSettings(WeightFormat.FP16), facts) == ("FP16", False, "FP16")
    with pytest.raises(InvalidArgument, match="gptq") as caught:
        _settled(LoadSettings(WeightFormat.INT8), LoadSettings(), facts)
    assert caught.value.field == "settings.format"

"""Which ways of holding a model go together, and what is filled in where nothing is said."""

from __future__ import annotations

import itertools

import pytest

from mistudio_models.domain.weights import ComputeDtype, LoadSettings, WeightFormat
from mistudio_models.service.load_settings import check_settings
from mistudio_servicekit.errors import InvalidArgument

_FOUR_BIT = {WeightFormat.FP4, WeightFormat.NF4}
_PLAIN = {WeightFormat.FP32, WeightFormat.FP16, WeightFormat.BF16}


def test_double_quantization_goes_with_four_bits_only() -> None:
    for format_ in WeightFormat:
        settings = LoadSettings(format_, double_quantization=True)
        if format_ in _FOUR_BIT:
            assert check_settings("settings", settings) == settings
            continue
        with pytest.raises(InvalidArgument) as caught:
            check_settings("settings", settings)
        assert caught.value.field == "settings.double_quantization"


def test_plain_weights_compute_as_they_are_held() -> None:
    for format_, dtype in itertools.product(WeightFormat, ComputeDtype):
        settings = LoadSettings(format_, compute_dtype=dtype)
        if format_ not in _PLAIN or not dtype or dtype.value == format_.value:
            assert check_settings("settings", settings) == settings
            continue
        with pytest.raises(InvalidArgument) as caught:
            check_settings("settings", settings)
        assert caught.value.field == "settings.compute_dtype"


def test_a_compute_dtype_without_a_format_counts_for_quantized_weights_only() -> None:
    asked = LoadSettings(compute_dtype=ComputeDtype.FP16)
    assert asked.settled({"F32": 7}) == LoadSettings(WeightFormat.FP32, compute_dtype=ComputeDtype.FP32)
    as_model = asked.or_else(LoadSettings(WeightFormat.NF4, double_quantization=True))
    assert as_model.settled({"F32": 7}) == LoadSettings(WeightFormat.NF4, True, ComputeDtype.FP16)

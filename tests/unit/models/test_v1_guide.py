"""The guide from v1 to v2 says what the service says."""

from __future__ import annotations

from pathlib import Path

from mistudio.models.v1 import model_pb2, models_service_pb2
from mistudio_models.api.v1.deprecation import DEPRECATED_SINCE, NOTICE, SUNSET

_GUIDE = (Path(__file__).parents[3] / "docs" / "models-v1-to-v2.md").read_text()


def test_the_guide_has_the_dates_and_metadata_of_every_answer() -> None:
    for key, value in NOTICE:
        assert f"| `{key}` | `{value}` |" in _GUIDE
    assert f"{DEPRECATED_SINCE:%d %B %Y}" in _GUIDE
    assert f"**{SUNSET:%d %B %Y, %H:%M:%S} GMT**" in _GUIDE


def test_the_guide_names_every_call_and_quantization_of_v1() -> None:
    for method in models_service_pb2.DESCRIPTOR.services_by_name["ModelsService"].methods:
        assert f"\n| `{method.name}`" in _GUIDE
    for name in model_pb2.Quantization.keys()[1:]:
        assert f"| `{name.removeprefix('QUANTIZATION_')}` |" in _GUIDE

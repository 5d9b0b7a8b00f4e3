"""Which quantized files can be loaded where: asked of the installed transformers, as a load would ask."""

from __future__ import annotations

from typing import Any

import pytest

from mistudio_models.engine.outline import Outline
from mistudio_models.engine.quantized_files import quantization_refusal
from mistudio_servicekit.errors import Reason


def _outline(**quantization: Any) -> Outline:
    return Outline({"model_type": "llama", "quantization_config": quantization}, {})


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
@pytest.mark.parametrize(("method", "library"), [("gptq", "optimum"), ("awq", "gptqmodel"), ("aqlm", "aqlm")])
def test_a_library_that_is_not_installed_is_named(method: str, library: str, device_type: str) -> None:
    refusal = quantization_refusal(_outline(quant_method=method, bits=4), device_type)
    assert refusal is not None and refusal.reason is Reason.UNSUPPORTED_FORMAT
    assert method in refusal.problem and library in refusal.problem
    assert "install the library" in refusal.next_step


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
    ],
    ids=lambda value: "-".join(map(str, value)),
)
def test_what_is_installed_is_not_refused(quantization: dict[str, Any], device_type: str) -> None:
    assert quantization_refusal(_outline(**quantization), device_type) is None


def test_what_takes_a_gpu_is_refused_on_cpus_with_that() -> None:
    refusal = quantization_refusal(_outline(quant_method="fbgemm_fp8"), "cpu")
    assert refusal is not None and "fbgemm_fp8" in refusal.problem and "GPUs only" in refusal.problem
    assert "worker with a GPU" in refusal.next_step


@pytest.mark.parametrize("settings", [{"quant_method": "novel"}, {"bits": 4}, {"quant_method": ["gptq"]}])
def test_what_nobody_knows_is_refused_and_breaks_nothing(settings: dict[str, Any]) -> None:
    refusal = quantization_refusal(_outline(**settings), "cpu")
    assert refusal is not None and refusal.next_step


def test_files_that_are_not_quantized_are_never_refused() -> None:
    assert quantization_refusal(Outline({"model_type": "llama"}, {}), "cpu") is None

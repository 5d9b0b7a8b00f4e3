"""Loading models on the CPU: every family in every format, exact, whole, proved, and measured."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit, Linear8bitLt
from safetensors.torch import load_file, save_file

from mistudio_models.domain.weights import ComputeDtype, LoadSettings, WeightFormat
from mistudio_models.engine.measuring import weights_bytes
from mistudio_models.engine.quantizing import skipped_modules
from mistudio_servicekit.errors import InvalidArgument, JobCancelled, MalformedFile
from tests.model_families import FAMILIES, make_model

from .loading import BF16, FP16, FP32, INT8, MANY, NF4, ONE_THREAD, Seen, load, loader


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_plain_and_quantized_and_takes_the_bytes_that_were_predicted(
    family: str, tmp_path: Path
) -> None:
    make_model(family, tmp_path)
    for settings in MANY if family in ("llama", "gpt2") else (BF16, INT8, NF4):
        loaded = load(tmp_path, settings)
        memory = loaded.memory
        assert memory.measured_weights_bytes == memory.predicted_weights_bytes, settings
        assert weights_bytes(loaded.model) == memory.measured_weights_bytes
        assert not loaded.model.training
        assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
        assert 0 < loaded.forward_seconds < loaded.load_seconds


def test_plain_weights_are_those_of_the_files(tmp_path: Path) -> None:
    stored = load_file(make_model("llama", tmp_path) / "model.safetensors")
    for settings, dtype in ((FP32, torch.float32), (FP16, torch.float16), (BF16, torch.bfloat16)):
        held = load(tmp_path, settings).model.state_dict()
        assert held.keys() == stored.keys()
        assert all(torch.equal(held[name], weight.to(dtype)) for name, weight in stored.items())


def test_a_model_of_several_files_is_that_of_one(tmp_path: Path) -> None:
    one = load(make_model("qwen2", tmp_path / "one"), FP32).model
    several = make_model("qwen2", tmp_path / "several", max_shard_size="200KB")
    assert len(list(several.glob("*.safetensors"))) > 2
    tokens = torch.arange(12)[None]
    assert torch.equal(load(several, FP32).model(tokens).logits, one(tokens).logits)


@pytest.mark.parametrize("settings", [INT8, NF4], ids=str)
def test_a_quantized_model_answers_nearly_as_the_plain_one(settings: LoadSettings, tmp_path: Path) -> None:
    make_model("llama", tmp_path)
    tokens = torch.arange(32)[None]
    plain = load(tmp_path, FP32).model(tokens).logits
    quantized = load(tmp_path, settings).model(tokens).logits.float()
    assert torch.nn.functional.cosine_similarity(plain.flatten(), quantized.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("settings", [INT8, NF4], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mixtral", "odd"])
def test_exactly_the_modules_stay_unquantized_that_the_estimate_names(
    family: str, settings: LoadSettings, tmp_path: Path
) -> None:
    make_model(family, tmp_path)
    loaded = load(tmp_path, settings)
    quantized = [name for name, module in loaded.model.named_modules() if isinstance(module, Linear4bit | Linear8bitLt)]
    assert quantized
    stays = {skipped.path for skipped in skipped_modules(load(tmp_path, BF16).model, settings, "cpu")}
    assert not stays.intersection(quantized)
    linear = {name for name, module in loaded.model.named_modules() if type(module) is torch.nn.Linear}
    assert linear <= stays
    assert sum(modules.modules for modules in loaded.need.unquantized) == len(stays)


def test_four_bit_weights_compute_in_the_dtype_that_was_asked_for_and_pass_gradients_on_every_cpu(
    tmp_path: Path,
) -> None:
    make_model("llama", tmp_path)
    settings = LoadSettings(WeightFormat.NF4, compute_dtype=ComputeDtype.FP32)
    layer = load(tmp_path, settings).model.model.layers[0].mlp.down_proj
    x = torch.randn(4, layer.in_features, requires_grad=True)
    with torch.no_grad():
        exact = layer(x.detach())
    # BF16 has 8 bits of a number, so that most results would differ.
    assert torch.unique(exact.bfloat16().float() == exact).tolist() == [False]
    layer(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0


def test_progress_counts_the_bytes_of_the_weights_up_to_all_of_them(tmp_path: Path) -> None:
    make_model("llama", tmp_path)
    seen = Seen()
    load(tmp_path, BF16, observer=seen)
    total = sum(weight.nbytes for weight in load_file(tmp_path / "model.safetensors").values())
    done = [done for done, _ in seen.progress]
    assert {of for _, of in seen.progress} == {total}
    assert done == sorted(done) and len(set(done)) > 10 and done[-1] == total
    assert seen.stages == ["proving"]


@pytest.mark.parametrize("settings", [BF16, NF4], ids=str)
def test_a_load_that_is_cancelled_stops_in_the_middle_of_its_files(settings: LoadSettings, tmp_path: Path) -> None:
    make_model("llama", tmp_path)

    def cancel(done: int, total: int) -> None:
        if done > total / 2:
            raise JobCancelled("The job was cancelled", next_step="Retry it")

    seen = Seen(cancel)
    with pytest.raises(JobCancelled):
        load(tmp_path, settings, observer=seen)
    done, total = seen.progress[-1]
    assert done < total


_PEAK = """
import sys
from pathlib import Path
from tests.integration.models_engine.loading import {settings}, load

folder = Path(sys.argv[1])
load(folder, {settings})  # the first load of its kind brings libraries in as well
memory = load(folder, {settings}).memory
print(memory.measured_load_peak_bytes, memory.predicted_load_peak_bytes)
"""
# On a CPU the kernel counts Python's objects and the libraries' own as well, whatever the size of the model: up to
# 6 MB. The tensors alone are compared in test_memory_peaks.py, exactly.
_BESIDE_TENSORS_BYTES = 16_000_000


@pytest.mark.parametrize("settings", ["FP32", "BF16", "INT8", "NF4"])
def test_the_load_peak_is_measured_near_what_was_predicted(settings: str, tmp_path: Path) -> None:
    """In a process of its own, as in production: the heap of this one holds what all tests before have left in it."""
    make_model("llama", tmp_path, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, head_dim=64)
    command = [sys.executable, "-c", _PEAK.format(settings=settings), str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=500, env=ONE_THREAD)
    measured, predicted = map(int, done.stdout.split())
    assert 0.9 * predicted <= measured <= 1.1 * predicted + _BESIDE_TENSORS_BYTES


def test_values_too_large_for_fp16_are_named_with_the_formats_that_hold_them(tmp_path: Path) -> None:
    path = make_model("llama", tmp_path) / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"].fill_(1e6)
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(InvalidArgument, match=r"FP16.*BF16 or FP32") as caught:
        load(tmp_path, FP16)
    assert caught.value.field == "settings.format"
    assert load(tmp_path, BF16).forward_seconds > 0


def test_a_weight_that_is_no_number_is_found_before_the_model_is_used(tmp_path: Path) -> None:
    path = make_model("llama", tmp_path) / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(MalformedFile, match="no number"):
        load(tmp_path, FP32)


def test_a_model_reads_nothing_but_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model("llama", tmp_path)

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"the network was asked for: {arguments}")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    assert load(tmp_path, NF4).model.config.model_type == "llama"


def test_a_loaded_model_outlives_its_files(tmp_path: Path) -> None:
    path = make_model("llama", tmp_path) / "model.safetensors"
    model = load(tmp_path, FP32).model
    tokens = torch.arange(8)[None]
    before = model(tokens).logits
    path.write_bytes(b"")
    assert torch.equal(model(tokens).logits, before)


def test_the_libraries_say_nothing_of_a_load_that_is_as_it_should_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    make_model("llama", tmp_path)
    capfd.readouterr()
    with caplog.at_level(logging.WARNING):
        model = load(tmp_path, INT8).model
        model(torch.arange(8)[None])
    assert caplog.text == "" and capfd.readouterr().err == ""


def test_the_need_of_a_load_is_known_without_its_weights(tmp_path: Path) -> None:
    path = make_model("llama", tmp_path) / "model.safetensors"
    need = loader(tmp_path, NF4).need()
    header = int.from_bytes(path.read_bytes()[:8], "little")
    path.write_bytes(path.read_bytes()[: 8 + header] + bytes(path.stat().st_size - 8 - header))
    assert loader(tmp_path, NF4).need() == need
    assert 0 < need.weights_bytes < need.load_peak_bytes

"""What cannot be loaded is refused with its names, and what is not allowed is not touched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mistudio_models.domain.policy import Policy
from mistudio_models.domain.weights import LoadSettings
from mistudio_servicekit.errors import (
    ArchitectureUnsupported,
    MalformedFile,
    MistudioError,
    PickleRefused,
    RemoteCodeRefused,
    UnsupportedFormat,
    WeightsMissing,
)
from tests.model_families import make_model

from .loading import BF16, FP32, INT8, NF4, ONE_THREAD, load

WEIGHTS = "model.safetensors"
DOWN = "model.layers.1.mlp.down_proj.weight"


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})


def change_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("settings", [BF16, INT8, NF4], ids=str)
def test_a_missing_weight_is_named_and_never_made_up(settings: LoadSettings, tmp_path: Path) -> None:
    change_weights(make_model("llama", tmp_path), lambda weights: weights.pop(DOWN))
    with pytest.raises(MalformedFile, match=DOWN):
        load(tmp_path, settings)


@pytest.mark.parametrize("settings", [BF16, INT8, NF4], ids=str)
def test_a_weight_of_another_shape_is_named_with_both_shapes(settings: LoadSettings, tmp_path: Path) -> None:
    change_weights(make_model("llama", tmp_path), lambda weights: weights.update({DOWN: torch.zeros(64, 128)}))
    with pytest.raises(MalformedFile, match=rf"{DOWN} as \(64, 128\) instead of \(64, 192\)"):
        load(tmp_path, settings)


@pytest.mark.parametrize(
    "name",
    ["model.layers.1.mlp.down_proj.bias", "model.layers.0.self_attn.q_norm.weight", "model.layers.3.norm.weight"],
)
def test_a_weight_that_the_code_has_no_place_for_within_the_model_is_refused(name: str, tmp_path: Path) -> None:
    change_weights(make_model("llama", tmp_path), lambda weights: weights.update({name: torch.zeros(64)}))
    with pytest.raises(ArchitectureUnsupported, match=name):
        load(tmp_path, BF16)


def test_the_head_of_another_task_is_left_out(tmp_path: Path) -> None:
    change_weights(make_model("llama", tmp_path), lambda weights: weights.update({"score.weight": torch.zeros(2, 64)}))
    assert load(tmp_path, BF16).forward_seconds > 0


def test_tied_weights_are_no_missing_ones(tmp_path: Path) -> None:
    assert "lm_head.weight" not in load_file(make_model("qwen2", tmp_path) / WEIGHTS)
    model = load(tmp_path, BF16).model
    assert model.lm_head.weight is model.model.embed_tokens.weight


@pytest.mark.parametrize("keep", [0, 7, 4000, 500_000])
def test_a_file_that_was_cut_off_is_refused_by_name(keep: int, tmp_path: Path) -> None:
    path = make_model("llama", tmp_path) / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(MalformedFile, match=WEIGHTS):
        load(tmp_path, BF16)


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    (make_model("llama", tmp_path) / WEIGHTS).unlink()
    with pytest.raises(WeightsMissing):
        load(tmp_path, BF16, allowed=Policy(allow_pickle=True))


def as_pickle(folder: Path, extra: object = None) -> None:
    weights: dict[str, object] = {**load_file(folder / WEIGHTS)}
    (folder / WEIGHTS).unlink()
    torch.save(weights if extra is None else {**weights, "extra": extra}, folder / "pytorch_model.bin")


def test_pickles_are_refused_unless_they_are_allowed(tmp_path: Path) -> None:
    tokens = torch.arange(8)[None]
    expected = load(make_model("llama", tmp_path), FP32).model(tokens).logits
    as_pickle(tmp_path)
    with pytest.raises(PickleRefused, match="MISTUDIO_ALLOW_PICKLE"):
        load(tmp_path, FP32)
    loaded = load(tmp_path, FP32, allowed=Policy(allow_pickle=True))
    assert torch.equal(loaded.model(tokens).logits, expected)


class Runs:
    """Runs a command where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_a_pickle_that_would_run_code_is_refused_also_where_pickles_are_allowed(tmp_path: Path) -> None:
    make_model("llama", tmp_path)
    as_pickle(tmp_path, Runs(tmp_path / "it-ran"))
    with pytest.raises(MalformedFile, match=r"pytorch_model\.bin"):
        load(tmp_path, FP32, allowed=Policy(allow_pickle=True))
    assert not (tmp_path / "it-ran").exists()


_OWN_CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path({marker!r}).touch()

class OwnConfig(LlamaConfig):
    model_type = "own_llama"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""


def with_own_code(folder: Path) -> Path:
    """A model whose repository brings its code; the marker that running it leaves."""
    make_model("llama", folder)
    marker = folder / "it-ran"
    (folder / "own.py").write_text(_OWN_CODE.format(marker=str(marker)))
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change_config(folder, model_type="own_llama", architectures=["OwnModel"], auto_map=classes)
    return marker


@pytest.fixture
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of repositories is imported from a folder of the test's own."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("sys.path", [*sys.path])


def test_code_of_a_repository_does_not_run_unless_it_is_allowed(tmp_path: Path) -> None:
    marker = with_own_code(tmp_path)
    with pytest.raises(RemoteCodeRefused, match="trust_remote_code"):
        load(tmp_path, BF16)
    assert not marker.exists()


@pytest.mark.usefixtures("own_modules")
def test_code_of_a_repository_runs_where_it_is_allowed(tmp_path: Path) -> None:
    marker = with_own_code(tmp_path)
    loaded = load(tmp_path, BF16, allowed=Policy(allow_remote_code=True))
    assert marker.exists() and type(loaded.model).__name__ == "OwnModel"
    assert loaded.memory.measured_weights_bytes == pytest.approx(loaded.memory.predicted_weights_bytes, rel=0.02)


def test_code_that_lies_in_another_repository_is_not_fetched(tmp_path: Path) -> None:
    with_own_code(tmp_path)
    change_config(tmp_path, auto_map={"AutoConfig": "a/b--own.C", "AutoModelForCausalLM": "a/b--own.M"})
    with pytest.raises(ArchitectureUnsupported, match="another repository"):
        load(tmp_path, BF16, allowed=Policy(allow_remote_code=True))


def test_installed_code_is_preferred_to_that_of_the_repository(tmp_path: Path) -> None:
    marker = with_own_code(tmp_path)
    change_config(tmp_path, model_type="llama")
    assert type(load(tmp_path, BF16, allowed=Policy(allow_remote_code=True)).model).__name__ == "LlamaForCausalLM"
    assert not marker.exists()


def test_an_unknown_architecture_is_refused_by_name(tmp_path: Path) -> None:
    change_config(make_model("llama", tmp_path), model_type="lama", architectures=["LamaForCausalLM"])
    with pytest.raises(ArchitectureUnsupported, match="lama"):
        load(tmp_path, BF16)


@pytest.mark.parametrize(
    "quantization",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False},
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    ],
    ids=lambda value: value["quant_method"],
)
def test_quantized_files_that_need_a_library_name_it(quantization: dict[str, Any], tmp_path: Path) -> None:
    change_config(make_model("llama", tmp_path), quantization_config=quantization)
    with pytest.raises(UnsupportedFormat, match=r"(?i)gptqmodel|optimum|awq"):
        load(tmp_path, BF16)


def test_files_that_bitsandbytes_has_quantized_load_as_they_are(tmp_path: Path) -> None:
    quantized = load(make_model("llama", tmp_path / "plain"), NF4).model
    quantized.save_pretrained(tmp_path / "nf4")
    loaded = load(tmp_path / "nf4", NF4).model
    tokens = torch.arange(8)[None]
    assert torch.equal(loaded(tokens).logits, quantized(tokens).logits)


_TOO_LITTLE = """
import resource, sys
from pathlib import Path
import psutil
from mistudio_servicekit.errors import OutOfMemory
from tests.integration.models_engine.loading import BF16, NF4, Seen, loader

folder = Path(sys.argv[1])
loader(folder, BF16).load("cpu", Seen())  # libraries and their threads are there
big = loader(Path(sys.argv[2]), {settings})
big.need()
room = psutil.Process().memory_info().vms + 60_000_000
resource.setrlimit(resource.RLIMIT_AS, (room, room))
try:
    big.load("cpu", Seen())
except OutOfMemory as error:
    print("too little:", error)
"""


@pytest.mark.parametrize("settings", ["BF16", "NF4"])
def test_memory_that_runs_out_in_the_middle_is_told_as_that(settings: str, tmp_path: Path) -> None:
    make_model("llama", tmp_path / "small")
    make_model("llama", tmp_path / "big", hidden_size=1024, intermediate_size=4096, vocab_size=32_000)
    arguments = [str(tmp_path / "small"), str(tmp_path / "big")]
    code = _TOO_LITTLE.format(settings=settings)
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=500, env=ONE_THREAD)
    assert "too little:" in done.stdout, done.stderr


def test_every_refusal_says_what_to_do(tmp_path: Path) -> None:
    (make_model("llama", tmp_path) / WEIGHTS).unlink()
    with pytest.raises(MistudioError) as caught:
        load(tmp_path, BF16)
    assert caught.value.next_step and "Download" in caught.value.next_step

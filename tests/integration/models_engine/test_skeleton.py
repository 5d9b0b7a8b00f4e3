"""Skeletons: true to the models, without memory, and with a typed error for whatever is no model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.outline import Outline, read_outline
from mistudio_models.engine.skeleton import auto_class, skeleton
from mistudio_servicekit.errors import ArchitectureUnsupported, MalformedFile, MistudioError
from tests.model_families import FAMILIES, make_model

HOSTILE: list[Any] = [
    -1, 0, 10**18, -(10**18), 3.5, float("nan"), float("inf"), True, None, "x", "9" * 1000, [1, 2], {"a": 1},
]  # fmt: skip


def outline(family: str, **changes: Any) -> Outline:
    made = FAMILIES[family]
    return Outline({**made.config, "model_type": made.model_type, "architectures": [made.model_class], **changes}, {})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_skeleton_has_the_tensors_of_the_model_and_no_memory(family: str, tmp_path: Path) -> None:
    make_model(family, tmp_path)
    built = skeleton(read_outline(FolderSource(tmp_path)), torch.bfloat16)
    real = getattr(transformers, FAMILIES[family].model_class).from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert type(built) is type(real)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in built.state_dict().items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in real.state_dict().items()
    }
    assert all(tensor.is_meta for tensor in (*built.parameters(), *built.buffers()))
    assert not built.training


@pytest.mark.parametrize(
    ("family", "saved_from", "expected"),
    [
        ("llama", "LlamaForCausalLM", "AutoModelForCausalLM"),
        ("llama", "", "AutoModelForCausalLM"),
        ("llama", "LLaMAForCausalLM", "AutoModelForCausalLM"),
        ("llama", "LlamaModel", "AutoModel"),
        ("llama", "LlamaForSequenceClassification", "AutoModel"),
        ("bert", "BertForMaskedLM", "AutoModelForMaskedLM"),
        ("bert", "BertModel", "AutoModel"),
    ],
)
def test_the_head_is_that_of_the_weights(family: str, saved_from: str, expected: str) -> None:
    assert auto_class(outline(family, architectures=[saved_from])).__name__ == expected


def test_an_unknown_model_type_is_told_with_the_next_step() -> None:
    with pytest.raises(ArchitectureUnsupported, match=r"'mystery'.*Choose a model") as refused:
        skeleton(outline("llama", model_type="mystery"))
    assert "own code" not in str(refused.value)
    with pytest.raises(ArchitectureUnsupported, match="own code"):
        skeleton(outline("llama", model_type="mystery", auto_map={"AutoModel": "modeling.Mystery"}))


def test_a_model_without_configuration_is_unsupported() -> None:
    with pytest.raises(ArchitectureUnsupported):
        skeleton(Outline({}, {}))


def test_a_model_of_no_language_is_malformed_or_unsupported() -> None:
    with pytest.raises((ArchitectureUnsupported, MalformedFile)):
        skeleton(Outline({"model_type": "timm_backbone", "use_pretrained_backbone": True}, {}))


def test_code_and_kernels_of_strangers_are_never_asked_for() -> None:
    foreign = {
        "auto_map": {"AutoConfig": "owner/repo--code.Config", "AutoModelForCausalLM": "owner/repo--code.Model"},
        "attn_implementation": "kernels-community/flash-attn",
        "_attn_implementation": "kernels-community/flash-attn",
        "experts_implementation": "kernels-community/experts",
        "quantization_config": {"quant_method": "gptq", "bits": 4},
    }
    assert type(skeleton(outline("llama", **foreign))).__module__ == "transformers.models.llama.modeling_llama"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", 1025),
        ("vocab_size", 10**18),
        ("hidden_size", -64),
        ("hidden_size", "wide"),
        ("num_attention_heads", 0),
        ("max_position_embeddings", 2**40),
    ],
)
def test_a_figure_that_cannot_be_is_told(key: str, value: Any) -> None:
    with pytest.raises(MalformedFile, match=r"config\.json") as refused:
        skeleton(outline("llama", **{key: value}))
    assert refused.value.next_step


def test_many_layers_of_many_experts_are_refused_before_they_are_built() -> None:
    with pytest.raises(MalformedFile, match="1000 layers have 4000 experts"):
        skeleton(outline("mixtral", num_hidden_layers=1000, num_local_experts=4000))


def test_too_many_parameters_are_refused() -> None:
    with pytest.raises(MalformedFile, match="parameters, which no model has"):
        skeleton(outline("llama", vocab_size=10**8, hidden_size=10**6, head_dim=32))


def test_a_configuration_that_is_nested_too_deeply_is_malformed() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(MalformedFile):
        skeleton(outline("llama", rope_scaling=deep))


@pytest.mark.filterwarnings("ignore")  # of torch, about models without any weights
@pytest.mark.parametrize("family", ["gpt2", "qwen3_moe"])
def test_every_hostile_value_ends_in_a_model_or_in_a_typed_error(family: str, tmp_path: Path) -> None:
    config = json.loads((make_model(family, tmp_path) / "config.json").read_text())
    for key in config:
        for value in HOSTILE:
            try:
                built = skeleton(Outline({**config, key: value}, {}))
            except MistudioError as error:
                assert isinstance(error, ArchitectureUnsupported | MalformedFile), (key, value)
            else:
                assert all(tensor.is_meta for tensor in built.parameters()), (key, value)

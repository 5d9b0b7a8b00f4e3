"""The map of every family's layers, proven by running the real model with hooks at the reported places."""

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from mistudio_models.domain.architecture import Architecture, HookPoint, HookPointKind, HookSide
from mistudio_models.engine.architecture import architecture
from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.outline import Outline, read_outline
from mistudio_models.engine.skeleton import auto_class
from tests.integration.models_engine.architecture_families import (
    ALL,
    ATTENTION,
    HYBRID,
    MID,
    MLP,
    MORE,
    PARALLEL,
    POST,
    PRE,
    STATE_SPACE,
)
from tests.integration.models_engine.residual_equations import broken_equations, unlike_fresh
from tests.model_families import FAMILIES, make_model

BERT_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")


def outline_of(model_type: str, config: Mapping[str, Any]) -> Outline:
    return Outline(AutoConfig.for_model(model_type, **config).to_dict(), {})


def real_model(outline: Outline) -> torch.nn.Module:
    config = AutoConfig.for_model(**outline.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return unlike_fresh(auto_class(outline).from_config(config))


def saved(name: str, folder: Path, **changes: Any) -> tuple[Any, Architecture]:
    """The family's model as it lies in a folder, and its architecture."""
    outline = read_outline(FolderSource(make_model(name, folder, **changes)))
    return unlike_fresh(auto_class(outline).from_pretrained(folder)), architecture(outline)


def kinds(found: Architecture) -> list[Set[HookPointKind]]:
    return [{point.kind for point in layer.hook_points} for layer in found.layers]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_reads_what_its_map_says(name: str, tmp_path: Path):
    model, found = saved(name, tmp_path)
    parallel = name in {"gpt_neox", "phi"}
    assert broken_equations(model, found, BERT_NORMS if name == "bert" else None) == []
    assert kinds(found) == [PARALLEL if parallel else ALL] * 3
    assert found.parallel_layers is parallel
    assert found.extraction.suitable
    assert found.sae_training.suitable


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_counts_its_parameters_once(name: str, tmp_path: Path):
    model, found = saved(name, tmp_path, num_hidden_layers=1)
    assert found.parameters == sum(weight.numel() for weight in model.parameters())
    assert [layer.parameters for layer in found.layers] == [
        sum(weight.numel() for weight in model.get_submodule(layer.module_path).parameters()) for layer in found.layers
    ]
    assert (found.hidden_size, found.vocabulary_size) == (model.config.hidden_size, 512)
    assert model.get_submodule(found.embedding_path) is model.get_input_embeddings()
    assert model.get_submodule(found.unembedding_path) is model.get_output_embeddings()
    assert found.tied_embeddings is model.config.tie_word_embeddings


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_one_layer_is_mapped_like_any_other(name: str, tmp_path: Path):
    model, found = saved(name, tmp_path, num_hidden_layers=1)
    assert broken_equations(model, found, BERT_NORMS if name == "bert" else None) == []
    assert len(found.layers) == 1


@pytest.mark.parametrize("name", MORE)
def test_a_family_that_was_never_named_reads_what_its_map_says(name: str):
    model_type, config, expected = MORE[name]
    outline = outline_of(model_type, config)
    found = architecture(outline)
    assert kinds(found) == [expected] * len(found.layers)
    assert broken_equations(real_model(outline), found) == []
    assert found.extraction.suitable


def test_layers_of_different_kinds_are_told_apart():
    outline = outline_of("qwen3_next", HYBRID)
    found = architecture(outline)
    assert kinds(found) == [ALL - {ATTENTION}] * 3 + [ALL]
    assert broken_equations(real_model(outline), found) == []
    assert any(
        reason.startswith("Layers 0-2: tokens are mixed by something else") for reason in found.extraction.reasons
    )


def test_a_model_without_attention_has_its_stream_alone():
    outline = outline_of("mamba", STATE_SPACE)
    found = architecture(outline)
    assert kinds(found) == [{PRE, POST}] * 3
    assert found.extraction.reasons == (
        "Every layer: tokens are mixed by something else than attention alone, so there is no attn_out",
    )
    # Its own hidden_states begin with what the first layer makes; all else holds.
    assert all("hidden_states" in equation for equation in broken_equations(real_model(outline), found))


@pytest.mark.parametrize(("name", "experts"), [("mixtral", 4), ("qwen3_moe", 4), ("llama", 0)])
def test_experts_are_counted(name: str, experts: int, tmp_path: Path):
    _, found = saved(name, tmp_path)
    assert [layer.experts for layer in found.layers] == [experts] * 3


def test_dense_layers_of_a_mixture_have_no_experts():
    model_type, config, _ = MORE["deepseek_v3"]
    assert [layer.experts for layer in architecture(outline_of(model_type, config)).layers] == [0, 8, 8]


@pytest.mark.parametrize(
    ("name", "kind", "module", "side"),
    [
        ("llama", ATTENTION, "input_layernorm", HookSide.OUTPUT),
        ("llama", MID, "post_attention_layernorm", HookSide.OUTPUT),
        ("llama", MLP, "mlp", HookSide.INPUT),
        ("llama", POST, "mlp", HookSide.OUTPUT),
        ("llama", PRE, "self_attn.q_proj", HookSide.INPUT),
        ("gemma2", ATTENTION, "self_attn", HookSide.OUTPUT),
        ("gemma2", MLP, "mlp", HookSide.OUTPUT),
        ("gpt_neox", MLP, "attention", HookSide.OUTPUT),
        ("bert", MID, "attention.output.dense", HookSide.OUTPUT),
    ],
)
def test_a_wrong_hook_point_breaks_its_equation(
    name: str, kind: HookPointKind, module: str, side: HookSide, tmp_path: Path
):
    model, found = saved(name, tmp_path)
    assert broken_equations(model, _moved(found, kind, module, side), BERT_NORMS if name == "bert" else None)


def _moved(found: Architecture, kind: HookPointKind, module: str, side: HookSide) -> Architecture:
    """The architecture with the first layer's hook point somewhere else."""
    first, *others = found.layers

    def moved(point: HookPoint) -> HookPoint:
        return replace(point, module_path=f"{first.module_path}.{module}", side=side) if point.kind is kind else point

    points = tuple(moved(point) for point in first.hook_points)
    return replace(found, layers=(replace(first, hook_points=points), *others))

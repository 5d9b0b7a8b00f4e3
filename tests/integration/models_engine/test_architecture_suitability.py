"""What a model can be used for is said in words, and what cannot be proven is not claimed."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from transformers import AutoConfig

from mistudio_models.domain.architecture import Architecture, HookPointKind
from mistudio_models.engine.architecture import architecture
from mistudio_models.engine.headers import StoredTensor
from mistudio_models.engine.outline import Outline
from mistudio_servicekit.errors import ArchitectureUnsupported, MalformedFile

SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def mapped(model_type: str, **config: Any) -> Architecture:
    return architecture(Outline(AutoConfig.for_model(model_type, **config).to_dict(), {}))


def also_saying(**said: Any) -> Architecture:
    """A Llama whose configuration says something more."""
    return architecture(Outline({**AutoConfig.for_model("llama", **SIZES).to_dict(), **said}, {}))


def test_an_encoder_decoder_is_not_suitable_and_says_whose_layers_are_listed():
    found = mapped("t5", d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4, vocab_size=512)
    assert not found.extraction.suitable
    assert not found.sae_training.suitable
    assert "encoder-decoder" in found.extraction.reasons[0]
    assert "decoder.block" in found.extraction.reasons[0]
    assert [layer.module_path for layer in found.layers] == ["decoder.block.0", "decoder.block.1"]


def test_a_model_of_images_is_not_suitable():
    found = mapped("vit", hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4)
    assert not found.extraction.suitable
    assert found.extraction.reasons[0] == "It reads pixel_values, not the tokens of a text"


def test_layers_that_are_run_many_times_have_no_hook_points():
    found = mapped("albert", **SIZES, embedding_size=32)
    assert [layer.hook_points for layer in found.layers] == [()]
    assert not found.extraction.suitable
    assert "it is run 2 times in a forward pass" in found.extraction.reasons[1]


def test_layers_that_are_not_one_stack_are_not_taken_for_one():
    found = mapped("xlm", emb_dim=64, n_layers=3, n_heads=4, vocab_size=512)
    assert found.layers == ()
    assert not found.extraction.suitable
    assert found.extraction.reasons[0].startswith("No list of layers was found")


def test_a_forward_pass_that_cannot_be_followed_leaves_likely_places_unproven():
    found = mapped("xlnet", d_model=64, n_layer=2, n_head=4, d_inner=96, vocab_size=512)
    assert not found.extraction.suitable
    assert "could not be followed" in found.extraction.reasons[0]
    assert "no hook point is proven" in found.extraction.reasons[0]
    assert {point.kind for layer in found.layers for point in layer.hook_points} == {
        HookPointKind.RESID_PRE,
        HookPointKind.RESID_POST,
    }


def test_layers_that_text_alone_does_not_reach_have_no_hook_points():
    found = mapped(
        "mllama",
        text_config={
            **SIZES,
            "num_hidden_layers": 3,
            "cross_attention_layers": [1],
            "num_key_value_heads": 2,
            "pad_token_id": 0,
        },
    )
    assert [bool(layer.hook_points) for layer in found.layers] == [True, False, True]
    assert found.extraction.suitable
    assert "Layer 1: it is not run on text alone, so it has no hook points" in found.extraction.reasons


def test_what_is_multiplied_before_it_is_added_is_left_out_with_the_factor():
    found = mapped("granite", **SIZES, residual_multiplier=0.22)
    assert found.extraction.suitable
    assert found.extraction.reasons == (
        "Every layer: attn_out is left out, as 0.22 times the output of self_attn is added, and no module gives that "
        "product",
        "Every layer: mlp_out is left out, as 0.22 times the output of mlp is added, and no module gives that product",
    )


def test_norms_after_the_additions_are_explained():
    found = mapped("bert", **SIZES)
    assert found.extraction.suitable
    assert "resid_mid is norm(resid_pre + attn_out)" in found.extraction.reasons[0]


def test_a_narrow_model_is_suitable_with_a_word_of_caution():
    found = mapped("llama", **{**SIZES, "hidden_size": 32})
    assert found.sae_training.suitable
    assert "32 wide" in found.sae_training.reasons[0]


def test_weights_that_are_quantized_already_are_fine_and_mentioned():
    found = also_saying(quantization_config={"quant_method": "gptq", "bits": 4})
    assert found.extraction.suitable
    assert "gptq" in found.extraction.reasons[0]
    assert len(found.layers[0].hook_points) == 5


def test_code_of_the_repository_is_mentioned_and_not_used():
    found = also_saying(auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    assert found.extraction.suitable
    assert "code of its own" in found.extraction.reasons[0]


def test_a_model_type_that_nobody_knows_is_an_error_that_names_it():
    config = {"model_type": "own_model", "architectures": ["OwnModel"], "auto_map": {"AutoModel": "own.Own"}}
    with pytest.raises(ArchitectureUnsupported, match="own_model"):
        architecture(Outline(config, {"weight": StoredTensor("F32", (2, 2))}))


@pytest.mark.parametrize("sizes", [{"num_hidden_layers": 10**9}, {"hidden_size": -1}, {"hidden_size": "wide"}])
def test_a_configuration_that_describes_no_model_is_malformed(sizes: Mapping[str, Any]):
    with pytest.raises(MalformedFile, match=r"config\.json"):
        architecture(Outline({"model_type": "llama", **SIZES, **sizes}, {}))


def test_a_model_of_a_hundred_layers_and_billions_of_parameters_is_mapped_in_a_moment():
    started = time.process_time()
    found = mapped("llama", hidden_size=4096, intermediate_size=14336, num_hidden_layers=100, vocab_size=128256)
    assert time.process_time() - started < 60  # about one
    assert found.parameters > 20 * 10**9
    assert len(found.layers) == 100
    assert all(len(layer.hook_points) == 5 for layer in found.layers)


def test_an_architecture_crosses_process_borders_unchanged():
    found = mapped("gpt2", n_embd=64, n_layer=2, n_head=4, vocab_size=512)
    assert Architecture.from_json(found.to_json()) == found

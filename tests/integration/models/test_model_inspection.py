"""What is told of a model before it is brought in."""

from __future__ import annotations

import json
import time

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_local.hub_mirror.faults import Refusal
from mistudio_local.hub_mirror.shelf import MODEL_ID, fill
from tests.model_families import make_model


async def _inspect(service, repo_id, **fields):
    return (await service.stub.InspectModel(pb.InspectModelRequest(repo_id=repo_id, **fields))).inspection


async def test_an_inspection_tells_facts_files_and_bytes(service, hub):
    found = await _inspect(service, hub.gpt)
    assert (found.revision, len(found.commit), found.gate) == ("main", 40, model_pb2.GATE_OPEN)
    assert found.accessible
    assert not found.access_problem
    assert (found.facts.architecture, found.facts.parameters, found.facts.layers) == ("GPT2LMHeadModel", 1600, 2)
    assert [(count.dtype, count.parameters) for count in found.facts.parameters_by_dtype] == [("F32", 1600)]
    assert found.facts.has_tokenizer
    assert found.facts.has_chat_template
    skipped = [file.path for file in found.files if not file.selected]
    assert skipped == ["pytorch_model.bin"]
    assert found.download_bytes == sum(file.size_bytes for file in found.files if file.selected)


async def test_another_revision_is_another_commit_with_its_own_facts(service, hub):
    main, older = await _inspect(service, hub.gpt), await _inspect(service, hub.gpt, revision="v1")
    assert older.facts.layers == 1
    assert older.commit != main.commit
    assert (await _inspect(service, hub.gpt, revision=older.commit)).facts == older.facts


async def test_parameters_of_a_sharded_model_are_exact_and_no_weights_are_fetched(service, hub):
    found = await _inspect(service, hub.sharded)
    assert found.facts.parameters == 800_000
    assert not found.facts.has_tokenizer
    assert hub.mirror.faults.bytes_sent() < 256 * 1024


async def test_a_large_real_model_is_inspected_with_less_than_a_megabyte(service, hub):
    fill(hub.root)
    found = await _inspect(service, MODEL_ID)
    assert found.facts.parameters == 22_713_728
    assert found.download_bytes > 90_000_000
    assert hub.mirror.faults.bytes_sent() < 1_000_000


async def test_a_gated_model_shows_its_files_and_why_they_may_not_be_read(service, hub):
    found = await _inspect(service, hub.gated)
    assert (found.gate, found.accessible) == (model_pb2.GATE_MANUAL, False)
    assert "no token was given" in found.access_problem
    assert not found.HasField("facts")
    assert {file.path for file in found.files} == {"config.json", "model.safetensors"}


async def test_a_gated_model_opens_for_a_token_that_may_read_it(service, hub):
    assert not (await _inspect(service, hub.gated, hub_token=hub.bob_token)).accessible
    found = await _inspect(service, hub.gated, hub_token=hub.ada_token)
    assert found.accessible
    assert found.facts.parameters == 4


async def test_a_private_model_exists_for_those_who_may_read_it_only(service, hub):
    found = await _inspect(service, hub.private, hub_token=hub.ada_token)
    assert (found.private, found.accessible, found.gate) == (True, True, model_pb2.GATE_OPEN)
    for token in ("", hub.bob_token):
        request = pb.InspectModelRequest(repo_id=hub.private, hub_token=token)
        assert (await service.refusal(service.stub.InspectModel(request))).reason == "REPO_NOT_FOUND"


_IMPOSSIBLE = [
    ({}, "INVALID_ARGUMENT", "MISSING_FIELD", "repo_id"),
    ({"repo_id": "../../etc/passwd"}, "INVALID_ARGUMENT", "INVALID_FIELD", "repo_id"),
    ({"repo_id": "tiny/" + "x" * 300}, "INVALID_ARGUMENT", "INVALID_FIELD", "repo_id"),
    ({"repo_id": "tiny/gpt", "revision": "a\0b"}, "INVALID_ARGUMENT", "INVALID_FIELD", "revision"),
    ({"repo_id": "tiny/unknown"}, "NOT_FOUND", "REPO_NOT_FOUND", "repo_id"),
    ({"repo_id": "tiny/gpt", "revision": "../main"}, "NOT_FOUND", "REVISION_NOT_FOUND", "revision"),
    ({"repo_id": "tiny/gpt", "hub_token": "hf_unknown"}, "PERMISSION_DENIED", "HUB_TOKEN_INVALID", "hub_token"),
    ({"repo_id": "tiny/gpt", "hub_token": "with space"}, "PERMISSION_DENIED", "HUB_TOKEN_INVALID", "hub_token"),
    ({"repo_id": "tiny/damaged"}, "INVALID_ARGUMENT", "MALFORMED_FILE", ""),
]


async def test_what_cannot_be_inspected_is_a_typed_error(service, subtests):
    for fields, code, reason, field in _IMPOSSIBLE:
        with subtests.test(fields=fields):
            error = await service.refusal(service.stub.InspectModel(pb.InspectModelRequest(**fields)))
            assert (error.code, error.reason, error.field) == (code, reason, field)
            assert error.next_step
            assert fields.get("hub_token", "-secret-") not in error.message


async def test_an_unreachable_hub_is_unavailable(service, hub):
    hub.mirror.faults.refusals.append(Refusal(status=503, times=None))
    error = await service.refusal(service.stub.InspectModel(pb.InspectModelRequest(repo_id=hub.gpt)))
    assert (error.code, error.reason, error.transient) == ("UNAVAILABLE", "HUB_UNAVAILABLE", True)


async def test_a_hub_that_asks_to_wait_is_passed_on(service, hub):
    hub.mirror.faults.refusals.append(Refusal(status=429, times=None, retry_after="7"))
    error = await service.refusal(service.stub.InspectModel(pb.InspectModelRequest(repo_id=hub.gpt)))
    assert (error.code, error.reason) == ("UNAVAILABLE", "HUB_RATE_LIMITED")
    assert "7 seconds" in error.message


async def test_a_model_of_any_family_is_told_as_it_is_loaded(service, hub):
    folder = make_model("gemma2", hub.folder("tiny/gemma"), dtype=torch.bfloat16)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    model = transformers.Gemma2ForCausalLM.from_pretrained(folder)
    facts = (await _inspect(service, "tiny/gemma")).facts
    assert (facts.architecture, facts.model_type) == ("Gemma2ForCausalLM", "gemma2")
    assert [(count.dtype, count.parameters) for count in facts.parameters_by_dtype] == [
        ("BF16", model.num_parameters())
    ]
    assert (facts.layers, facts.hidden_size, facts.intermediate_size, facts.head_size) == (3, 64, 192, 32)
    assert (facts.attention_heads, facts.key_value_heads, facts.experts) == (4, 2, 0)
    assert (facts.context_length, facts.vocabulary_size) == (256, 512)
    assert (facts.has_tokenizer, facts.has_chat_template, facts.needs_remote_code) == (True, True, False)
    assert (facts.quantization, facts.weight_files) == ("", model_pb2.WEIGHT_FILES_SAFETENSORS)


async def test_a_quantized_model_is_told_by_name_and_with_all_its_parameters(service, hub):
    plain = make_model("llama", hub.folder("tiny/llama"))
    settings = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = transformers.LlamaForCausalLM.from_pretrained(plain, quantization_config=settings)
    model.save_pretrained(hub.folder("tiny/llama-nf4"))
    before = (await _inspect(service, "tiny/llama")).facts
    after = (await _inspect(service, "tiny/llama-nf4")).facts
    assert (before.quantization, after.quantization) == ("", "bitsandbytes-nf4")
    assert after.parameters == before.parameters == model.num_parameters()


async def test_a_model_with_code_of_its_own_is_told(service, hub):
    folder = make_model("llama", hub.folder("tiny/coded"))
    config = json.loads((folder / "config.json").read_text())
    own = {"model_type": "somebodys_own", "auto_map": {"AutoModelForCausalLM": "modeling_own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    assert (await _inspect(service, "tiny/coded")).facts.needs_remote_code


async def test_no_more_than_a_megabyte_of_a_single_file_model_is_fetched_and_nothing_of_its_tokenizer(service, hub):
    folder = make_model("llama", hub.folder("tiny/large"))
    tensors = {f"model.layers.{number}.self_attn.q_proj.weight": np.zeros((2, 2), np.float32) for number in range(3000)}
    save_file({**tensors, "model.embed_tokens.weight": np.zeros((2**20, 8), np.float32)}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_bytes(b" " * 20_000_000)
    with (folder / "tokenizer_config.json").open("w") as file:
        json.dump(
            {"added_tokens_decoder": {str(n): "x" * 100 for n in range(20_000)}, "chat_template": "{{ x }}"}, file
        )
    found = await _inspect(service, "tiny/large")
    assert found.facts.parameters == 3000 * 4 + 2**20 * 8
    assert (found.facts.has_tokenizer, found.facts.has_chat_template) == (True, True)
    assert hub.mirror.faults.bytes_sent() <= 1_000_000
    assert not [record for record in hub.mirror.faults.requests if record.path.endswith("/tokenizer.json")]


async def test_a_model_of_a_hundred_shards_is_told_at_once_by_one_small_read_of_each(service, hub):
    folder = hub.folder("tiny/hundred")
    folder.mkdir(parents=True)
    names: dict[str, str] = {}
    for shard in range(100):
        file = f"model-{shard + 1:05}-of-00100.safetensors"
        tensors = [f"model.layers.{shard}.mlp.experts.{expert}.down_proj.weight" for expert in range(20)]
        save_file({name: np.zeros((32, 32), np.float32) for name in tensors}, folder / file)
        names |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    await _inspect(service, "tiny/hundred")  # the mirror works the checksums out, which a Hub has
    hub.mirror.faults.requests.clear()
    begun = time.monotonic()
    found = await _inspect(service, "tiny/hundred")
    assert time.monotonic() - begun < 60
    assert found.facts.parameters == 100 * 20 * 32 * 32
    weights = [record for record in hub.mirror.faults.requests if record.path.endswith(".safetensors")]
    assert sum(record.bytes_sent > 0 for record in weights) == 100
    assert max(record.bytes_sent for record in weights) < 8192

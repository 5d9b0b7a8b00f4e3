"""What is told of a model before it is brought in."""

from __future__ import annotations

from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_local.hub_mirror.faults import Refusal
from mistudio_local.hub_mirror.shelf import MODEL_ID, fill


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

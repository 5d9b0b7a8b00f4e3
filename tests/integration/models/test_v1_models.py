"""What clients of v1 get: the models of v2 under their old ids and fields."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import grpc
import pytest
from google.protobuf.message import Message

from mistudio.models.v1 import model_pb2, models_service_pb2_grpc
from mistudio.models.v1 import models_service_pb2 as pb
from mistudio.models.v2 import models_service_pb2 as v2_pb
from mistudio.models.v2 import weights_pb2
from mistudio_local.hub_mirror.faults import Body
from tests.model_families import make_model

_UNKNOWN = "m_0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e"


@pytest.fixture
async def old(service) -> AsyncIterator[models_service_pb2_grpc.ModelsServiceAsyncStub]:
    """A client of v1."""
    async with grpc.aio.insecure_channel(service.target) as channel:
        yield models_service_pb2_grpc.ModelsServiceStub(channel)


async def _get(old: models_service_pb2_grpc.ModelsServiceAsyncStub, model_id: str) -> model_pb2.Model:
    return (await old.GetModel(pb.GetModelRequest(id=model_id))).model


async def test_a_model_is_downloaded_shown_and_deleted_under_its_old_id(service, hub, old):
    asked = (await old.DownloadModel(pb.DownloadModelRequest(repo_id=hub.gpt))).model
    assert (asked.status, asked.progress, asked.disk_size_bytes) == (model_pb2.MODEL_STATUS_DOWNLOADING, 0, 0)
    await service.start_worker()
    new = await service.ended(asked.id.removeprefix("m_"))
    model = await _get(old, asked.id)
    assert (model.id, model.name, model.repo_id) == (f"m_{new.id}", hub.gpt, hub.gpt)
    assert (model.status, model.progress, model.error_message) == (model_pb2.MODEL_STATUS_READY, 100, "")
    assert (model.architecture, model.params_count) == (new.facts.architecture, 1_600)
    assert model.disk_size_bytes == new.size_bytes > 0
    assert (model.created_at, model.updated_at) == (new.create_time, new.update_time)
    await old.DeleteModel(pb.DeleteModelRequest(id=model.id))
    assert (await service.refusal(service.get(new.id))).reason == "MODEL_NOT_FOUND"


async def test_what_a_model_is_has_the_names_of_before(service, hub, old):
    asked = (await old.DownloadModel(pb.DownloadModelRequest(repo_id=hub.gpt))).model
    info = await old.GetModelInfo(pb.GetModelInfoRequest(id=asked.id))
    assert info.model == asked
    assert (info.num_layers, info.hidden_size, info.num_attention_heads) == (2, 8, 2)
    assert (info.vocab_size, info.max_position_embeddings) == (100, 32)


async def test_progress_is_the_percentage_of_the_bytes_that_are_here(service, hub, old):
    hub.mirror.faults.bodies.append(Body(stall_after=300_000, path="*00002-of-00002*", times=None))
    asked = (await old.DownloadModel(pb.DownloadModelRequest(repo_id=hub.sharded))).model
    await service.start_worker()
    while not (model := await _get(old, asked.id)).progress:
        await asyncio.sleep(0.02)
    assert 0 < model.progress < 100
    stopped = (await old.CancelDownload(pb.CancelDownloadRequest(id=asked.id))).model
    assert stopped.id == asked.id
    await service.ended(asked.id.removeprefix("m_"))
    model = await _get(old, asked.id)
    assert (model.status, model.progress) == (model_pb2.MODEL_STATUS_ERROR, 0)
    assert "cancelled" in model.error_message


async def test_a_failure_is_told_in_words(old, made):
    error = {
        "code": "RESOURCE_EXHAUSTED",
        "reason": "DISK_FULL",
        "failure": "DISK_FULL",
        "transient": False,
        "problem": "The disk is full",
        "next_step": "Make room",
    }
    (model_id,) = made.put(1, "ERROR", error=error)
    model = await _get(old, f"m_{model_id}")
    assert (model.status, model.error_message) == (model_pb2.MODEL_STATUS_ERROR, "The disk is full. Make room.")


async def test_an_id_that_an_older_release_had_made_up_still_names_its_model(service, old, made, subtests):
    for given in ("m_abc123", "Modell 模型 🤖", "m_0197F2A4-5C3E-7B1A-9D2F-3E4A5B6C7D8E", "x" * 2_000):
        with subtests.test(id=given[:40]):
            (model_id,) = made.put(v1_id=given)
            assert (await _get(old, given)).id == f"m_{model_id}"
            assert (await old.GetModelInfo(pb.GetModelInfoRequest(id=given))).model.id == f"m_{model_id}"
            await old.DeleteModel(pb.DeleteModelRequest(id=given))
            assert (await service.refusal(service.get(model_id))).reason == "MODEL_NOT_FOUND"


_METHODS = ("GetModel", "DeleteModel", "CancelDownload", "GetModelInfo", "EstimateMemory")
_NO_IDS = [
    ("", "INVALID_ARGUMENT", "MISSING_FIELD"),
    ("m_abc123", "INVALID_ARGUMENT", "MALFORMED_ID"),
    (_UNKNOWN.removeprefix("m_"), "INVALID_ARGUMENT", "MALFORMED_ID"),
    (_UNKNOWN.upper(), "INVALID_ARGUMENT", "MALFORMED_ID"),
    (_UNKNOWN.replace("-", ""), "INVALID_ARGUMENT", "MALFORMED_ID"),
    (f"m_{_UNKNOWN}", "INVALID_ARGUMENT", "MALFORMED_ID"),
    ("a\0b", "INVALID_ARGUMENT", "INVALID_FIELD"),
    ("x" * 5_000, "INVALID_ARGUMENT", "INVALID_FIELD"),
    (_UNKNOWN, "NOT_FOUND", "MODEL_NOT_FOUND"),
]


async def test_an_id_that_names_no_model_is_a_typed_error(service, old, subtests):
    for method in _METHODS:
        for given, code, reason in _NO_IDS:
            with subtests.test(method=method, id=given[:40]):
                error = await service.refusal(getattr(old, method)(getattr(pb, f"{method}Request")(id=given)))
                assert (error.code, error.reason) == (code, reason)
                if reason == "MALFORMED_ID":
                    assert (error.field, "m_<uuid>" in error.message) == ("id", True)


_QUANTIZATIONS = [
    (model_pb2.QUANTIZATION_UNSPECIFIED, weights_pb2.WEIGHT_FORMAT_FP16, model_pb2.QUANTIZATION_FP16),
    (model_pb2.QUANTIZATION_FP32, weights_pb2.WEIGHT_FORMAT_FP32, model_pb2.QUANTIZATION_FP32),
    (model_pb2.QUANTIZATION_FP16, weights_pb2.WEIGHT_FORMAT_FP16, model_pb2.QUANTIZATION_FP16),
    (model_pb2.QUANTIZATION_Q8, weights_pb2.WEIGHT_FORMAT_INT8, model_pb2.QUANTIZATION_Q8),
    (model_pb2.QUANTIZATION_Q4, weights_pb2.WEIGHT_FORMAT_NF4, model_pb2.QUANTIZATION_Q4),
]


async def test_a_quantization_is_the_default_format_of_v2(service, hub, old, subtests):
    for asked, format_, shown in _QUANTIZATIONS:
        with subtests.test(asked=model_pb2.Quantization.Name(asked)):
            request = pb.DownloadModelRequest(repo_id=hub.gpt, quantization=asked)
            model = (await old.DownloadModel(request)).model
            assert model.quantization == shown
            assert (await service.get(model.id.removeprefix("m_"))).default_settings.format == format_
            await old.DeleteModel(pb.DeleteModelRequest(id=model.id))


_SHOWN = [
    ("", {"F32": 7, "BF16": 3}, model_pb2.QUANTIZATION_FP32),
    ("", {"BF16": 7}, model_pb2.QUANTIZATION_FP16),
    ("", {}, model_pb2.QUANTIZATION_FP16),
    ("BF16", {"F32": 7}, model_pb2.QUANTIZATION_FP16),
    ("FP4", {"F32": 7}, model_pb2.QUANTIZATION_Q4),
]


async def test_a_format_of_v2_shows_as_the_nearest_quantization(service, old, made, subtests):
    for format_, parameters, shown in _SHOWN:
        with subtests.test(format=format_, parameters=parameters):
            (model_id,) = made.put(facts={"parameters_by_dtype": parameters})
            made.execute(
                "UPDATE models SET default_settings = jsonb_build_object('format', %(format)s::text) WHERE id = %(id)s",
                {"format": format_, "id": model_id},
            )
            assert (await _get(old, f"m_{model_id}")).quantization == shown


async def test_two_bits_are_refused_with_what_there_is_instead(service, hub, old, made):
    (model_id,) = made.put()
    unknown = cast("model_pb2.Quantization.ValueType", 99)
    for quantization in (model_pb2.QUANTIZATION_Q2, unknown):
        for call in (
            old.DownloadModel(pb.DownloadModelRequest(repo_id=hub.gpt, quantization=quantization)),
            old.EstimateMemory(pb.EstimateMemoryRequest(id=f"m_{model_id}", quantization=quantization)),
        ):
            error = await service.refusal(call)
            assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", "quantization")
            offered = ("QUANTIZATION_FP32", "QUANTIZATION_FP16", "QUANTIZATION_Q8", "QUANTIZATION_Q4")
            assert all(each in error.message for each in offered)


async def test_memory_is_estimated_as_in_v2(service, hub, old):
    make_model("gpt2", hub.folder("tiny/real"))
    model_id = (await old.DownloadModel(pb.DownloadModelRequest(repo_id="tiny/real"))).model.id
    await service.start_worker()
    await service.ended(model_id.removeprefix("m_"))
    for asked, format_, _ in _QUANTIZATIONS:
        settings = weights_pb2.LoadSettings(format=format_)
        request = v2_pb.EstimateMemoryRequest(model_id=model_id.removeprefix("m_"), settings=[settings])
        (expected,) = (await service.stub.EstimateMemory(request)).estimates
        answer = await old.EstimateMemory(pb.EstimateMemoryRequest(id=model_id, quantization=asked))
        assert answer.memory_required_bytes == expected.weights_bytes > 0
        assert answer.load_peak_bytes == expected.load_peak_bytes > 0


async def test_a_list_is_searched_filtered_and_cut_as_before(old, made, subtests):
    ready, failed, stopped = made.put(30), made.put(2, "ERROR"), made.put(3, "CANCELLED")
    newest = [f"m_{each}" for each in [*stopped[::-1], *failed[::-1], *ready[::-1]]]
    lists: list[tuple[dict[str, Any], list[str], int]] = [
        ({}, newest, 35),
        ({"limit": 4}, newest[:4], 35),
        ({"limit": 4, "skip": 3}, newest[3:7], 35),
        ({"skip": 33}, newest[33:], 35),
        ({"skip": 10_000}, [], 35),
        ({"status": model_pb2.MODEL_STATUS_READY, "limit": 2}, newest[5:7], 30),
        ({"status": model_pb2.MODEL_STATUS_ERROR}, newest[:5], 5),
        ({"status": model_pb2.MODEL_STATUS_DOWNLOADING}, [], 0),
        ({"search": "MADE/30"}, [f"m_{ready[-1]}"], 1),
        ({"search": "made/30", "skip": 1}, [], 1),
        ({"search": "made/30", "status": model_pb2.MODEL_STATUS_ERROR}, [], 0),
    ]
    for fields, ids, total in lists:
        with subtests.test(fields=fields):
            answer = await old.ListModels(pb.ListModelsRequest(**fields))
            assert ([model.id for model in answer.models], answer.total) == (ids[:50], total)


_IMPOSSIBLE_LISTS: list[tuple[dict[str, Any], str]] = [
    ({"limit": -1}, "limit"),
    ({"limit": 501}, "limit"),
    ({"skip": -1}, "skip"),
    ({"skip": 10_001}, "skip"),
    ({"status": 99}, "status"),
    ({"search": "a\0b"}, "search"),
]


async def test_a_list_that_cannot_be_made_is_a_typed_error(service, old, subtests):
    for fields, field in _IMPOSSIBLE_LISTS:
        with subtests.test(fields=fields):
            error = await service.refusal(old.ListModels(pb.ListModelsRequest(**fields)))
            assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", field)


async def test_what_cannot_be_downloaded_names_the_fields_of_v1(service, hub, old, subtests):
    impossible = [
        ({}, "MISSING_FIELD", "repo_id"),
        ({"repo_id": "tiny/unknown"}, "REPO_NOT_FOUND", "repo_id"),
        ({"repo_id": hub.gated}, "REPO_GATED", "access_token"),
        ({"repo_id": hub.gpt, "access_token": "x" * 2_000}, "INVALID_FIELD", "access_token"),
    ]
    for fields, reason, field in impossible:
        with subtests.test(fields=fields):
            error = await service.refusal(old.DownloadModel(pb.DownloadModelRequest(**fields)))
            assert (error.reason, error.field) == (reason, field)
    gated = pb.DownloadModelRequest(repo_id=hub.gated, access_token=hub.ada_token)
    assert (await old.DownloadModel(gated)).model.repo_id == hub.gated


async def test_files_that_are_quantized_already_are_not_quantized_by_clients_of_v1_either(service, hub, old, made):
    config = hub.folder(hub.bare) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": {"quant_method": "gptq"}}))
    (here,) = made.put(1, facts={"quantization": "gptq"})
    q4 = model_pb2.QUANTIZATION_Q4
    for call in (
        old.DownloadModel(pb.DownloadModelRequest(repo_id=hub.bare, quantization=q4)),
        old.EstimateMemory(pb.EstimateMemoryRequest(id=f"m_{here}", quantization=q4)),
    ):
        error = await service.refusal(call)
        assert (error.code, error.field) == ("INVALID_ARGUMENT", "quantization")
        assert "gptq" in error.message
    assert (await old.DownloadModel(pb.DownloadModelRequest(repo_id=hub.bare))).model.repo_id == hub.bare


def _calls(hub, model_id: str) -> list[tuple[str, Message, bool]]:
    """Every call of v1, as one that is answered and as one that is refused."""
    return [
        ("ListModels", pb.ListModelsRequest(), True),
        ("ListModels", pb.ListModelsRequest(limit=-1), False),
        ("GetModel", pb.GetModelRequest(id=model_id), True),
        ("GetModel", pb.GetModelRequest(id=_UNKNOWN), False),
        ("GetModelInfo", pb.GetModelInfoRequest(id=model_id), True),
        ("GetModelInfo", pb.GetModelInfoRequest(id="abc"), False),
        ("EstimateMemory", pb.EstimateMemoryRequest(id=_UNKNOWN), False),
        ("DownloadModel", pb.DownloadModelRequest(repo_id=hub.gpt), True),
        ("DownloadModel", pb.DownloadModelRequest(repo_id=hub.gated), False),
        ("CancelDownload", pb.CancelDownloadRequest(id=model_id), True),
        ("CancelDownload", pb.CancelDownloadRequest(id=model_id), False),
        ("DeleteModel", pb.DeleteModelRequest(id=model_id), True),
        ("DeleteModel", pb.DeleteModelRequest(id=model_id), False),
    ]


async def test_every_answer_and_every_error_says_since_when_and_until_when(service, hub, old, subtests):
    model_id = (await old.DownloadModel(pb.DownloadModelRequest(repo_id=hub.bare))).model.id
    for method, request, answered in _calls(hub, model_id):
        with subtests.test(method=method, answered=answered):
            call = getattr(old, method)(request)
            said = dict(await call.trailing_metadata())
            assert (await call.code() is grpc.StatusCode.OK) == answered
            since = datetime.fromtimestamp(int(said["deprecation"].removeprefix("@")), UTC)
            sunset = parsedate_to_datetime(said["sunset"])
            assert said["sunset"] == "Wed, 30 Jun 2027 23:59:59 GMT"
            assert since < sunset


async def test_an_error_keeps_its_details_beside_the_notice(service, old):
    error = await service.refusal(old.GetModel(pb.GetModelRequest(id="")))
    assert (error.reason, error.field) == ("MISSING_FIELD", "id")


async def test_v2_says_nothing_of_an_end(service):
    call = service.stub.ListModels(v2_pb.ListModelsRequest())
    assert not {"deprecation", "sunset"} & dict(await call.trailing_metadata()).keys()

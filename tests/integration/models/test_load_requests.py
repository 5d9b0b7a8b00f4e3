"""What is answered at once when a model is to be loaded or unloaded, whatever workers there are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import loading_pb2, weights_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_models.domain.policy import Policy
from mistudio_servicekit.database import new_id

from .told_workers import BF16, NF4, device, loaded

_BF16 = weights_pb2.LoadSettings(format=weights_pb2.WEIGHT_FORMAT_BF16)
_NF4 = weights_pb2.LoadSettings(format=weights_pb2.WEIGHT_FORMAT_NF4)


async def _load(service, model_id: str, **fields):
    return await service.stub.LoadModel(pb.LoadModelRequest(id=model_id, **fields))


async def _unload(service, model_id: str, **fields):
    return await service.stub.UnloadModel(pb.UnloadModelRequest(id=model_id, **fields))


async def _jobs(service):
    return (await service.jobs.ListJobs(jobs_service_pb2.ListJobsRequest())).total_size


async def test_a_load_is_answered_at_once_with_its_job(service, made):
    (model_id,) = made.put()
    answer = await _load(service, model_id)
    job = answer.job
    assert (answer.joined, answer.HasField("loaded")) == (False, False)
    assert (job.kind, job.pool, job.state) == ("models.load", "cpu", job_pb2.JOB_STATE_QUEUED)
    assert job.resource_id == model_id


async def test_100_equal_loads_at_once_are_one_job(service, made):
    (model_id,) = made.put()
    answers = await asyncio.gather(*(_load(service, model_id, settings=_NF4) for _ in range(100)))
    assert len({answer.job.id for answer in answers}) == 1
    assert [answer.joined for answer in answers].count(False) == 1
    assert await _jobs(service) == 1


async def test_settings_that_come_to_the_same_are_the_same_load(service, made):
    (model_id,) = made.put()  # its files have it in FP32
    explicit = weights_pb2.LoadSettings(
        format=weights_pb2.WEIGHT_FORMAT_FP32, compute_dtype=weights_pb2.COMPUTE_DTYPE_FP32
    )
    first = await _load(service, model_id)
    assert (await _load(service, model_id, settings=explicit)).job.id == first.job.id
    made.execute('UPDATE models SET default_settings = \'{"format": "NF4"}\' WHERE id = %(id)s', {"id": model_id})
    by_default = await _load(service, model_id)
    assert by_default.job.id != first.job.id
    assert (await _load(service, model_id, settings=_NF4)).job.id == by_default.job.id


async def test_loads_that_differ_are_jobs_of_their_own(service, made):
    (model_id,) = made.put()
    wishes: list[dict[str, Any]] = [{}, {"settings": _NF4}, {"device": loading_pb2.DEVICE_PREFERENCE_GPU}]
    assert len({(await _load(service, model_id, **wish)).job.id for wish in wishes}) == 3


async def test_a_load_that_pins_serves_those_that_do_not_but_not_the_other_way_round(service, made):
    (model_id,) = made.put()
    plain = await _load(service, model_id)
    pinned = await _load(service, model_id, pin=True)
    assert not pinned.joined
    assert pinned.job.id != plain.job.id
    again = await _load(service, model_id, pin=True)
    assert (again.joined, again.job.id) == (True, pinned.job.id)


async def test_a_cancelled_load_is_not_joined(service, made):
    (model_id,) = made.put()
    first = await _load(service, model_id)
    await service.jobs.CancelJob(jobs_service_pb2.CancelJobRequest(id=first.job.id))
    second = await _load(service, model_id)
    assert (second.joined, second.job.id != first.job.id) == (False, True)


async def test_a_gpu_is_preferred_where_a_worker_has_one(service, made, workers):
    (model_id,) = made.put()
    workers.put("cpu-1")
    assert (await _load(service, model_id)).job.pool == "cpu"
    workers.put("gpu-1", pool="gpu", devices=[device("cuda:0")])
    assert (await _load(service, model_id)).job.pool == "gpu"
    on_cpu = await _load(service, model_id, device=loading_pb2.DEVICE_PREFERENCE_CPU)
    assert (on_cpu.job.pool, on_cpu.joined) == ("cpu", True)


async def test_a_load_for_a_gpu_waits_for_a_worker_that_has_one_and_says_so(service, made):
    (model_id,) = made.put()
    answer = await _load(service, model_id, device=loading_pb2.DEVICE_PREFERENCE_GPU)
    job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=answer.job.id))).job
    assert (job.pool, job.state) == ("gpu", job_pb2.JOB_STATE_QUEUED)
    assert "gpu" in job.wait.reason


async def test_a_model_that_is_loaded_in_the_same_way_is_given_with_the_job_that_loaded_it(service, made, workers):
    (model_id,) = made.put()
    first = await _load(service, model_id, settings=_BF16)
    await service.jobs.CancelJob(jobs_service_pb2.CancelJobRequest(id=first.job.id))
    workers.put("cpu-1", loaded(model_id, BF16, job_id=first.job.id))
    again = await _load(service, model_id, settings=_BF16)
    assert (again.joined, again.job.id, again.loaded.worker) == (True, first.job.id, "cpu-1")
    assert (again.loaded.settings.format, again.loaded.device) == (weights_pb2.WEIGHT_FORMAT_BF16, "cpu")
    assert not (await _load(service, model_id, settings=_NF4)).joined
    assert not (await _load(service, model_id, settings=_BF16, device=loading_pb2.DEVICE_PREFERENCE_GPU)).joined
    assert not (await _load(service, model_id, settings=_BF16, pin=True)).joined


async def test_what_is_held_of_an_earlier_epoch_is_loaded_afresh(service, made, workers):
    (model_id,) = made.put()
    workers.put("cpu-1", loaded(model_id, BF16, epoch=0))
    assert not (await _load(service, model_id, settings=_BF16)).joined


async def test_a_repeated_request_id_gives_the_same_job_and_other_content_is_refused(service, made):
    model_id, other = made.put(2)
    first = await _load(service, model_id, request_id="mine")
    again = await _load(service, model_id, request_id="mine")
    assert (again.job.id, again.joined) == (first.job.id, True)
    for fields in ({"id": other}, {"id": model_id, "pin": True}, {"id": model_id, "settings": _NF4}):
        call = service.stub.LoadModel(pb.LoadModelRequest(request_id="mine", **fields))
        assert (await service.refusal(call)).reason == "REQUEST_ID_REUSED"


_IMPOSSIBLE_LOADS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"id": ""}, "INVALID_ARGUMENT", "MISSING_FIELD", "id"),
    ({"id": "m_1"}, "INVALID_ARGUMENT", "MALFORMED_ID", "id"),
    ({"id": str(new_id())}, "NOT_FOUND", "MODEL_NOT_FOUND", ""),
    ({"request_id": "x" * 129}, "INVALID_ARGUMENT", "INVALID_FIELD", "request_id"),
    ({"device": 9}, "INVALID_ARGUMENT", "INVALID_FIELD", "device"),
    ({"settings": {"format": 99}}, "INVALID_ARGUMENT", "INVALID_FIELD", "settings.format"),
    ({"settings": {"compute_dtype": 99}}, "INVALID_ARGUMENT", "INVALID_FIELD", "settings.compute_dtype"),
    (
        {"settings": {"format": "WEIGHT_FORMAT_INT8", "double_quantization": True}},
        "INVALID_ARGUMENT", "INVALID_FIELD", "settings.double_quantization",
    ),
    (
        {"settings": {"format": "WEIGHT_FORMAT_BF16", "compute_dtype": "COMPUTE_DTYPE_FP32"}},
        "INVALID_ARGUMENT", "INVALID_FIELD", "settings.compute_dtype",
    ),
]  # fmt: skip


async def test_what_can_never_be_loaded_is_a_typed_error_and_no_job(service, made, subtests):
    (model_id,) = made.put()
    for fields, code, reason, field in _IMPOSSIBLE_LOADS:
        with subtests.test(fields=fields):
            call = service.stub.LoadModel(pb.LoadModelRequest(**{"id": model_id, **fields}))
            error = await service.refusal(call)
            assert (error.code, error.reason, error.field) == (code, reason, field)
            assert error.next_step
    assert await _jobs(service) == 0


async def test_a_model_whose_files_are_not_complete_is_not_loaded(service, made, subtests):
    for status in ("DOWNLOADING", "ERROR", "CANCELLED"):
        with subtests.test(status=status):
            (model_id,) = made.put(1, status)
            error = await service.refusal(_load(service, model_id))
            assert (error.code, error.reason) == ("FAILED_PRECONDITION", "MODEL_NOT_READY")
            assert status in error.message


_REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"weight_files": "NONE"}, "FAILED_PRECONDITION", "WEIGHTS_MISSING", "safetensors"),
    ({"weight_files": "OTHER"}, "FAILED_PRECONDITION", "WEIGHTS_MISSING", "safetensors"),
    ({"weight_files": "PICKLE"}, "PERMISSION_DENIED", "PICKLE_REFUSED", "MISTUDIO_ALLOW_PICKLE"),
    ({"needs_remote_code": True}, "PERMISSION_DENIED", "REMOTE_CODE_REFUSED", "MISTUDIO_ALLOW_REMOTE_CODE"),
]


async def test_what_the_operator_does_not_allow_is_refused_before_any_job(service, made, subtests):
    for facts, code, reason, named in _REFUSED:
        with subtests.test(facts=facts):
            (model_id,) = made.put(1, facts=facts)
            error = await service.refusal(_load(service, model_id, trust_remote_code=True))
            assert (error.code, error.reason) == (code, reason)
            assert named in error.message
    assert await _jobs(service) == 0


async def test_weights_that_are_quantized_in_their_files_are_not_quantized_again(service, made):
    (model_id,) = made.put(1, facts={"quantization": "gptq"})
    error = await service.refusal(_load(service, model_id, settings=_NF4))
    assert (error.code, error.field) == ("INVALID_ARGUMENT", "settings.format")
    assert "gptq" in error.message
    assert (await _load(service, model_id)).job.state == job_pb2.JOB_STATE_QUEUED


@pytest.mark.parametrize("policy", [Policy(allow_pickle=True, allow_remote_code=True)])
async def test_what_the_operator_allows_still_has_to_be_asked_for(service, made):
    (pickles,), (own_code,) = (
        made.put(1, facts={"weight_files": "PICKLE"}),
        made.put(1, facts={"needs_remote_code": True}),
    )
    assert (await _load(service, pickles)).job.state == job_pb2.JOB_STATE_QUEUED
    error = await service.refusal(_load(service, own_code))
    assert (error.reason, error.field) == ("REMOTE_CODE_REFUSED", "trust_remote_code")
    assert (await _load(service, own_code, trust_remote_code=True)).job.state == job_pb2.JOB_STATE_QUEUED


async def test_loaded_models_are_listed_last_used_first_with_the_workers(service, made, workers):
    first, second = made.put(2)
    workers.put("cpu-1", loaded(first, BF16, pinned=True), budget=7)
    workers.put("gpu-1", loaded(second, NF4, on="cuda:0"), loaded(first, NF4), pool="gpu", devices=[device("cuda:0")])
    answer = await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest())
    assert [(each.model_id, each.worker) for each in answer.models] == [
        (first, "gpu-1"), (second, "gpu-1"), (first, "cpu-1"),
    ]  # fmt: skip
    pinned = answer.models[-1]
    assert (pinned.pinned, pinned.in_use, pinned.load_seconds, pinned.device) == (True, False, 2.5, "cpu")
    assert pinned.memory.measured_weights_bytes - pinned.memory.predicted_weights_bytes == 1
    host = next(host for host in answer.hosts if host.worker == "cpu-1")
    assert (host.pool, host.host, host.budget_bytes, host.loaded_bytes) == ("cpu", "rack", 7, 10**9)
    assert [each.id for each in host.devices] == ["cpu"]
    of_one = await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest(model_id=second))
    assert [each.model_id for each in of_one.models] == [second]
    assert len(of_one.hosts) == 2


async def test_deleted_models_and_silent_workers_are_not_listed(service, made, workers):
    (model_id,) = made.put()
    workers.put("cpu-1", loaded(str(new_id())))
    workers.put("cpu-2", loaded(model_id))
    made.execute("UPDATE workers SET seen_at = now() - interval '1 minute' WHERE name = 'cpu-2'")
    answer = await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest())
    assert (list(answer.models), [host.worker for host in answer.hosts]) == ([], ["cpu-1"])


async def test_a_list_of_what_cannot_be_is_a_typed_error(service):
    for given, code, reason in (
        ("m_1", "INVALID_ARGUMENT", "MALFORMED_ID"),
        (str(new_id()), "NOT_FOUND", "MODEL_NOT_FOUND"),
    ):
        call = service.stub.ListLoadedModels(pb.ListLoadedModelsRequest(model_id=given))
        error = await service.refusal(call)
        assert (error.code, error.reason) == (code, reason)


async def test_a_model_that_is_not_loaded_cannot_be_unloaded_and_the_error_says_where_it_is(service, made, workers):
    (model_id,) = made.put()
    error = await service.refusal(_unload(service, model_id))
    assert (error.code, error.reason) == ("NOT_FOUND", "MODEL_NOT_LOADED")
    workers.put("cpu-1", loaded(model_id, BF16))
    for fields, named in (({"worker": "cpu-9"}, "'cpu-9'"), ({"settings": _NF4}, "in NF4")):
        error = await service.refusal(_unload(service, model_id, **fields))
        assert error.reason == "MODEL_NOT_LOADED"
        assert named in error.message
        assert "BF16 on cpu of worker cpu-1" in error.message


async def test_a_model_that_a_job_works_with_is_unloaded_nowhere(service, made, workers):
    (model_id,) = made.put()
    workers.put("cpu-1", loaded(model_id, BF16))
    workers.put("cpu-2", loaded(model_id, BF16, in_use=True))
    error = await service.refusal(_unload(service, model_id))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert "worker cpu-2" in error.message


async def test_a_worker_that_does_not_answer_is_named(service, made, workers):
    (model_id,) = made.put()
    workers.put("gone-1", loaded(model_id, BF16))
    error = await service.refusal(_unload(service, model_id))
    assert (error.code, error.transient) == ("UNAVAILABLE", True)
    assert "gone-1" in error.message


_IMPOSSIBLE_UNLOADS: list[tuple[dict[str, Any], str, str]] = [
    ({"id": ""}, "MISSING_FIELD", "id"),
    ({"id": "m_1"}, "MALFORMED_ID", "id"),
    ({"id": str(new_id())}, "MODEL_NOT_FOUND", ""),
    ({"worker": "x" * 300}, "INVALID_FIELD", "worker"),
    ({"settings": {"format": 99}}, "INVALID_FIELD", "settings.format"),
]


async def test_what_can_never_be_unloaded_is_a_typed_error(service, made, subtests):
    (model_id,) = made.put()
    for fields, reason, field in _IMPOSSIBLE_UNLOADS:
        with subtests.test(fields=fields):
            error = await service.refusal(service.stub.UnloadModel(pb.UnloadModelRequest(**{"id": model_id, **fields})))
            assert (error.reason, error.field) == (reason, field)
            assert error.next_step


async def test_a_model_in_memory_is_deleted_with_force_only(service, made, workers):
    (model_id,) = made.put()
    workers.put("cpu-1", loaded(model_id, BF16))
    error = await service.refusal(service.stub.DeleteModel(pb.DeleteModelRequest(id=model_id)))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert "worker cpu-1" in error.message


async def test_a_model_that_is_being_loaded_is_deleted_with_force_which_stops_the_load(service, made):
    (model_id,) = made.put()
    load = await _load(service, model_id)
    error = await service.refusal(service.stub.DeleteModel(pb.DeleteModelRequest(id=model_id)))
    assert error.reason == "RESOURCE_IN_USE"
    assert load.job.id in error.message
    await service.stub.DeleteModel(pb.DeleteModelRequest(id=model_id, force=True))
    job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=load.job.id))).job
    assert job.state == job_pb2.JOB_STATE_CANCELLED

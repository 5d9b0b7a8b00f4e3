"""Models in the memory of a real worker: loaded, shared, told, unloaded."""

from __future__ import annotations

import asyncio
import os
import signal

import psutil
import pytest

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import loading_pb2, weights_pb2
from mistudio.models.v2 import models_service_pb2 as pb

from .stored_models import StoredModels
from .told_workers import loaded


@pytest.fixture
def models(service, made) -> StoredModels:
    return StoredModels(made, service.backend.store)


def _settings(name: str) -> weights_pb2.LoadSettings:
    return weights_pb2.LoadSettings(format=weights_pb2.WeightFormat.Value(f"WEIGHT_FORMAT_{name}"))


async def _load(service, model_id: str, **fields):
    return await service.stub.LoadModel(pb.LoadModelRequest(id=model_id, **fields))


async def _ended(service, job_id: str):
    """The job, once it has ended."""
    active = (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_RETRY_WAIT)
    async with asyncio.timeout(120):
        while True:
            job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job
            if job.state not in active:
                return job
            await asyncio.sleep(0.05)


async def _loaded(service, model_id: str, **fields):
    """Load a model; the job that has done it."""
    job = await _ended(service, (await _load(service, model_id, **fields)).job.id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    return job.id


async def _held(service, model_id: str = "") -> list[loading_pb2.LoadedModel]:
    return list((await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest(model_id=model_id))).models)


async def test_models_are_loaded_in_every_way_told_shared_and_unloaded(service, models):
    gpt2, llama = models.put("gpt2"), models.put("llama")
    await service.start_worker()
    jobs = [
        await _loaded(service, gpt2, settings=_settings("BF16")),
        await _loaded(service, llama, settings=_settings("NF4")),
        await _loaded(service, llama, settings=_settings("INT8")),
    ]
    held = await _held(service)
    assert [each.job_id for each in held] == jobs[::-1]
    assert [(each.model_id, each.device, each.pinned, each.in_use) for each in held] == [
        (llama, "cpu", False, False), (llama, "cpu", False, False), (gpt2, "cpu", False, False),
    ]  # fmt: skip
    for each in held:
        assert each.memory.measured_weights_bytes == each.memory.predicted_weights_bytes
        assert each.load_seconds >= each.forward_seconds > 0
    (host,) = (await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest())).hosts
    assert host.loaded_bytes == sum(each.memory.measured_weights_bytes for each in held)

    again = await _load(service, llama, settings=_settings("NF4"))
    assert (again.joined, again.job.id, again.loaded.model_id) == (True, jobs[1], llama)

    request = pb.EstimateMemoryRequest(model_id=llama, settings=[_settings("NF4")])
    (estimate,) = (await service.stub.EstimateMemory(request)).estimates
    (past,) = estimate.measurements
    assert past.predicted_weights_bytes == estimate.weights_bytes == past.measured_weights_bytes
    assert (past.worker, [verdict.worker for verdict in estimate.verdicts]) == (host.worker, [host.worker])

    only = pb.UnloadModelRequest(id=llama, settings=_settings("NF4"))
    unloaded = await service.stub.UnloadModel(only)
    assert [each.job_id for each in unloaded.unloaded] == [jobs[1]]
    assert unloaded.freed_bytes == past.measured_weights_bytes
    assert [each.job_id for each in await _held(service)] == [jobs[2], jobs[0]]
    assert (await service.refusal(service.stub.UnloadModel(only))).reason == "MODEL_NOT_LOADED"


async def test_a_pin_is_added_to_what_is_loaded_and_a_deletion_with_force_unloads_it(service, models):
    model_id = models.put("gpt2")
    await service.start_worker()
    first = await _loaded(service, model_id)
    second = await _loaded(service, model_id, pin=True)
    (held,) = await _held(service)
    assert (held.pinned, held.job_id, first != second) == (True, first, True)
    await service.stub.DeleteModel(pb.DeleteModelRequest(id=model_id, force=True))
    (host,) = (await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest())).hosts
    assert host.loaded_bytes == 0


async def test_where_one_of_two_workers_does_not_answer_the_error_tells_what_was_unloaded_all_the_same(
    service, models, workers
):
    model_id = models.put("gpt2")
    await service.start_worker()
    await _loaded(service, model_id)
    workers.put("gone-1", loaded(model_id))
    error = await service.refusal(service.stub.UnloadModel(pb.UnloadModelRequest(id=model_id)))
    assert error.code == "UNAVAILABLE"
    assert "gone-1" in error.message
    assert "unloaded all the same: FP32 on cpu" in error.message
    assert [each.worker for each in await _held(service)] == ["gone-1"]


async def test_what_does_not_load_leaves_nothing_behind_and_says_why(service, models):
    model_id = models.put("llama")
    await service.start_worker()
    weights = models.folder(model_id) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    job = await _ended(service, (await _load(service, model_id)).job.id)
    assert (job.state, job.error.reason) == (job_pb2.JOB_STATE_FAILED, "MALFORMED_FILE")
    assert await _held(service) == []


async def test_what_a_killed_process_held_is_no_longer_listed_and_can_be_loaded_again(service, models):
    model_id = models.put("gpt2")
    await service.start_worker()
    await _loaded(service, model_id)
    (child,) = [each for each in psutil.Process().children() if "mistudio_jobs.child" in " ".join(each.cmdline())]
    os.kill(child.pid, signal.SIGKILL)
    async with asyncio.timeout(100):
        while await _held(service):
            await asyncio.sleep(0.05)
    await _loaded(service, model_id)
    assert len(await _held(service)) == 1

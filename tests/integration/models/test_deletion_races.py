"""Loads and deletions of one model at once: whatever comes first, no worker holds a model that is deleted."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from sqlalchemy import text

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_models.store import SCHEMA
from mistudio_servicekit.database import Database

from .stored_models import StoredModels
from .told_workers import loaded

_ROUNDS = 6
_ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)


@pytest.fixture
def models(service, made) -> StoredModels:
    return StoredModels(made, service.backend.store)


def _load(service, model_id: str):
    return asyncio.ensure_future(service.stub.LoadModel(pb.LoadModelRequest(id=model_id)))


def _delete(service, model_id: str, *, force: bool = False):
    return asyncio.ensure_future(service.stub.DeleteModel(pb.DeleteModelRequest(id=model_id, force=force)))


async def _job(service, job_id: str) -> job_pb2.Job:
    job: job_pb2.Job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job
    return job


async def _ended(service, job_id: str) -> job_pb2.Job:
    async with asyncio.timeout(100):
        while (job := await _job(service, job_id)).state not in _ENDED:
            await asyncio.sleep(0.02)
    return job


async def _held_bytes(service) -> int:
    hosts = (await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest())).hosts
    return sum(host.loaded_bytes for host in hosts)


@asynccontextmanager
async def _locked(service, model_id: str) -> AsyncIterator[None]:
    """Nobody else comes to the model's row inside the block; who comes to it waits in line."""
    database = Database(service.backend.database_url, SCHEMA)
    async with database.transaction() as session:
        await session.execute(text("SELECT 1 FROM models WHERE id = :id FOR UPDATE"), {"id": model_id})
        yield
    await database.close()


async def _waiting(service, count: int) -> None:
    """Wait until so many calls wait for a row."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(100):
        while service.rows(query) != [(count,)]:
            await asyncio.sleep(0.01)


async def test_a_load_that_is_asked_for_just_before_its_model_is_deleted_is_cancelled_with_it(service, made):
    (model_id,) = made.put()
    async with _locked(service, model_id):
        load = _load(service, model_id)
        await _waiting(service, 1)
        deletion = _delete(service, model_id, force=True)
        await _waiting(service, 2)
    answer = await load
    await deletion
    assert (await _job(service, answer.job.id)).state == job_pb2.JOB_STATE_CANCELLED
    assert made.execute("SELECT count(*) FROM models") == [(0,)]


async def test_without_force_such_a_load_keeps_its_model(service, made):
    (model_id,) = made.put()
    async with _locked(service, model_id):
        load = _load(service, model_id)
        await _waiting(service, 1)
        deletion = _delete(service, model_id)
        await _waiting(service, 2)
    job = (await load).job
    error = await service.refusal(deletion)
    assert error.reason == "RESOURCE_IN_USE" and job.id in error.message
    assert (await _job(service, job.id)).state == job_pb2.JOB_STATE_QUEUED
    assert (await service.get(model_id)).id == model_id


async def test_a_load_that_is_asked_for_just_after_a_deletion_does_not_find_its_model(service, made):
    (model_id,) = made.put()
    async with _locked(service, model_id):
        deletion = _delete(service, model_id)
        await _waiting(service, 1)
        load = _load(service, model_id)
        await _waiting(service, 2)
    await deletion
    assert (await service.refusal(load)).reason == "MODEL_NOT_FOUND"
    assert (
        await service.jobs.ListJobs(jobs_service_pb2.ListJobsRequest(filter='kind = "models.load"'))
    ).total_size == 0


async def test_a_model_that_has_been_loaded_while_its_deletion_waited_is_kept_without_force(service, made, workers):
    (model_id,) = made.put()
    async with _locked(service, model_id):
        deletion = _delete(service, model_id)
        await _waiting(service, 1)
        workers.put("w1", loaded(model_id))
    error = await service.refusal(deletion)
    assert error.reason == "RESOURCE_IN_USE" and "w1" in error.message
    assert (await service.get(model_id)).id == model_id


async def test_a_load_of_a_deleted_model_cannot_be_retried(service, made):
    (model_id,) = made.put()
    job_id = (await _load(service, model_id)).job.id
    await _delete(service, model_id, force=True)
    call = service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job_id))
    error = await service.refusal(call)
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_RETRYABLE")
    assert model_id in error.message


async def test_a_deleted_model_that_a_worker_still_holds_is_let_go_of_by_itself(service, models):
    """As when the worker was cut off from the database while its model was deleted."""
    model_id = models.put("gpt2")
    await service.start_worker()
    job = await _ended(service, (await _load(service, model_id)).job.id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED and await _held_bytes(service) > 0
    models.made.execute("DELETE FROM models WHERE id = %(id)s", {"id": model_id})
    async with asyncio.timeout(100):
        while await _held_bytes(service):
            await asyncio.sleep(0.05)


async def test_loads_and_deletions_at_once_leave_nothing_in_memory_and_no_failed_job(service, models):
    dice = random.Random(7)  # the machine's own timing does the rest
    await service.start_worker()
    for _ in range(_ROUNDS):
        model_id = models.put("gpt2")
        asked = [_load(service, model_id)]
        await asyncio.sleep(dice.uniform(0, 0.5))
        deletion = _delete(service, model_id, force=True)
        for _ in range(3):
            asked.append(_load(service, model_id))
            await asyncio.sleep(dice.uniform(0, 0.05))
        await deletion
        assert await _held_bytes(service) == 0
        answers = await asyncio.gather(*asked, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert {error.code() for error in refused} <= {grpc.StatusCode.NOT_FOUND}
        loads = [await _ended(service, answer.job.id) for answer in answers if isinstance(answer, pb.LoadModelResponse)]
        assert job_pb2.JOB_STATE_FAILED not in {job.state for job in loads}
        assert await _held_bytes(service) == 0


async def test_of_two_unloads_at_once_one_unloads_and_the_other_is_told_that_it_is_gone(service, models):
    await service.start_worker()
    model_id = models.put("gpt2")
    for _ in range(_ROUNDS):
        assert (await _ended(service, (await _load(service, model_id)).job.id)).state == job_pb2.JOB_STATE_SUCCEEDED
        unloads = [service.stub.UnloadModel(pb.UnloadModelRequest(id=model_id)) for _ in range(2)]
        answers = await asyncio.gather(*unloads, return_exceptions=True)
        assert [len(each.unloaded) for each in answers if isinstance(each, pb.UnloadModelResponse)] == [1]
        (refused,) = [each for each in answers if isinstance(each, grpc.aio.AioRpcError)]
        assert refused.code() == grpc.StatusCode.NOT_FOUND
        assert await _held_bytes(service) == 0

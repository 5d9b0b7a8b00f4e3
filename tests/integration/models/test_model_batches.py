"""Letting many models go at once."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_servicekit.database import new_id

from .told_workers import loaded


async def _delete(service, ids: Sequence[str], *, force: bool = False):
    return await service.stub.BatchDeleteModels(pb.BatchDeleteModelsRequest(ids=ids, force=force))


async def _listed(service):
    return (await service.stub.ListModels(pb.ListModelsRequest())).total_size


async def _seconds_for_one(service, ids: Sequence[str]) -> float:
    """What it takes to delete one of `ids`, each by a call of its own."""
    seconds = []
    for each in ids:
        began = time.perf_counter()
        await _delete(service, [each], force=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


async def test_a_thousand_models_are_gone_at_once_by_one_job(service, made):
    (kept,) = made.put()
    one = await _seconds_for_one(service, made.put(20))
    seconds = []
    for force in (False, True, True):
        ids = made.put(1_000)
        began = time.perf_counter()
        answer = await _delete(service, ids, force=force)
        seconds.append(time.perf_counter() - began)
        assert (list(answer.deleted_ids), list(answer.failures)) == (ids, [])
    assert min(seconds) < 1000 * one / 3
    assert (await service.get(kept)).id == kept
    assert await _listed(service) == 1
    (payload,) = made.execute("SELECT payload FROM jobs WHERE id = %(id)s", {"id": answer.job.id})[0]
    assert set(payload["models"]) == set(ids)


async def test_a_thousand_models_on_their_way_are_stopped_at_once(service, hub, made):
    first = await service.download(hub.gpt)
    one = await _seconds_for_one(service, made.put(20))
    seconds = []
    for _ in range(3):
        ids = made.on_their_way(1_000, first.job.id)
        began = time.perf_counter()
        answer = await _delete(service, ids)
        seconds.append(time.perf_counter() - began)
        assert list(answer.deleted_ids) == ids
    assert min(seconds) < 1000 * one / 3
    states = dict(made.execute("SELECT state, count(*) FROM jobs WHERE kind = 'models.download' GROUP BY state"))
    assert states == {"CANCELLED": 3_000, "QUEUED": 1}


async def test_the_one_job_removes_the_files_of_all(service, hub):
    await service.start_worker()
    asked = [await service.download(repo_id) for repo_id in (hub.gpt, hub.bare, hub.sharded)]
    ids = [(await service.ended(answer.model.id)).id for answer in asked]
    assert all(service.folder(each).exists() for each in ids)
    job = (await _delete(service, ids)).job
    while job.state != job_pb2.JOB_STATE_SUCCEEDED:
        job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job.id))).job
        assert job.state not in (job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
        await asyncio.sleep(0.02)
    assert not any(service.folder(each).exists() for each in ids)
    assert job.progress.done == job.progress.total > 0


async def test_each_model_is_deleted_or_refused_as_the_call_for_it_alone(service, made):
    (free, used), (failed,) = made.put(2), made.put(1, "ERROR")
    tokenization = service.tokenizations.put(used, "QUEUED")
    service.tokenizations.put(free, "READY")
    unknown = str(new_id())
    answer = await _delete(service, [used, "abc", free, unknown, free.upper(), "", free, used, "abc", failed])
    assert list(answer.deleted_ids) == [free, failed]
    assert [(failure.id, failure.error.reason) for failure in answer.failures] == [
        (used, "RESOURCE_IN_USE"),
        ("abc", "MALFORMED_ID"),
        (unknown, "MODEL_NOT_FOUND"),
        ("", "MISSING_FIELD"),
    ]
    alone = await service.refusal(service.stub.DeleteModel(pb.DeleteModelRequest(id=used)))
    assert answer.failures[0].error.message == alone.message
    assert tokenization in alone.message
    assert "ids[1]" in answer.failures[1].error.message
    assert await _listed(service) == 1


async def test_with_force_the_tokenizations_of_all_are_stopped_and_no_others(service, made):
    first, second, other = made.put(3)
    running = ((each, status) for each in (first, second) for status in ("QUEUED", "PROCESSING"))
    needing = [service.tokenizations.put(each, status) for each, status in running]
    spared = service.tokenizations.put(other, "QUEUED")
    assert list((await _delete(service, [first, second], force=True)).deleted_ids) == [first, second]
    assert {service.tokenizations.status(each) for each in needing} == {"CANCELLED"}
    assert service.tokenizations.status(spared) == "QUEUED"


async def test_a_model_in_memory_is_refused_on_its_own_and_named_with_its_worker(service, made, workers):
    held, busy, free = made.put(3)
    workers.put("w1", loaded(held), loaded(busy, in_use=True))
    answer = await _delete(service, [held, busy, free])
    assert list(answer.deleted_ids) == [free]
    assert [(failure.id, failure.error.reason) for failure in answer.failures] == [
        (held, "RESOURCE_IN_USE"),
        (busy, "RESOURCE_IN_USE"),
    ]
    alone = await service.refusal(service.stub.DeleteModel(pb.DeleteModelRequest(id=held)))
    assert answer.failures[0].error.message == alone.message
    assert "w1" in alone.message
    forced = await _delete(service, [busy], force=True)
    assert [failure.error.reason for failure in forced.failures] == ["RESOURCE_IN_USE"], "a job works with it"


async def test_without_the_datasets_service_only_what_was_never_complete_is_deleted(service, made):
    (ready,), (failed,) = made.put(), made.put(1, "ERROR")
    await service.stop_datasets()
    answer = await _delete(service, [ready, failed], force=True)
    assert list(answer.deleted_ids) == [failed]
    assert [(failure.id, failure.error.reason) for failure in answer.failures] == [(ready, "BACKEND_UNAVAILABLE")]
    assert "datasets service" in answer.failures[0].error.message


async def test_a_batch_of_which_nothing_is_deleted_starts_no_job(service):
    answer = await _delete(service, [str(new_id())])
    assert (len(answer.failures), answer.HasField("job")) == (1, False)
    assert (await service.jobs.ListJobs(jobs_service_pb2.ListJobsRequest())).total_size == 0


async def test_a_batch_is_bounded(service):
    for ids, reason in (([], "MISSING_FIELD"), ([str(new_id())] * 1_001, "INVALID_FIELD")):
        error = await service.refusal(_delete(service, ids))
        assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, "ids")
        assert error.next_step


async def test_batches_that_overlap_delete_every_model_once(service, made):
    ids = made.put(200)
    answers = await asyncio.gather(*(_delete(service, order) for order in (ids, ids[::-1]) * 4))
    deleted = [each for answer in answers for each in answer.deleted_ids]
    assert (sorted(deleted), await _listed(service)) == (sorted(ids), 0)
    assert {failure.error.reason for answer in answers for failure in answer.failures} <= {"MODEL_NOT_FOUND"}
    states = {job.state for job in (await service.jobs.ListJobs(jobs_service_pb2.ListJobsRequest())).jobs}
    assert states == {job_pb2.JOB_STATE_QUEUED}

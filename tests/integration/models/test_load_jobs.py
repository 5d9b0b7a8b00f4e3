"""The job that loads a model: what it tells while it runs, what it leaves, and what is said where it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
from google.protobuf.json_format import MessageToDict

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio.models.v2 import weights_pb2
from mistudio_jobs.testing import PROMPT
from mistudio_models.config import WorkerConfig
from mistudio_models.worker import working
from mistudio_servicekit.backend import WorkerProcessConfig

from .made_models import MadeModels
from .stored_models import StoredModels

_ENDED = (job_pb2.JOB_STATE_SUCCEEDED, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_CANCELLED)
_BIG = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 16}


@pytest.fixture
def models(service) -> StoredModels:
    return StoredModels(MadeModels(service.database), service.backend.store)


@asynccontextmanager
async def _worker(service, budget_bytes: int = 0) -> AsyncIterator[None]:
    process = WorkerProcessConfig(service.backend, "holder", "cpu", "127.0.0.1:0")
    async with working(WorkerConfig(process, model_budget_bytes=budget_bytes), PROMPT):
        yield


async def _ask(service, model_id: str, format_: str = "BF16") -> str:
    settings = weights_pb2.LoadSettings(format=weights_pb2.WeightFormat.Value(f"WEIGHT_FORMAT_{format_}"))
    answer: pb.LoadModelResponse = await service.stub.LoadModel(pb.LoadModelRequest(id=model_id, settings=settings))
    return answer.job.id


async def _until(service, job_id: str, *states: job_pb2.JobState.ValueType) -> job_pb2.Job:
    async with asyncio.timeout(120):
        while True:
            job: job_pb2.Job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job
            if job.state in states:
                return job
            await asyncio.sleep(0.02)


async def _load(service, model_id: str, format_: str = "BF16") -> job_pb2.Job:
    return await _until(service, await _ask(service, model_id, format_), *_ENDED)


def _has_torch(service) -> bool:
    """Whether a job process of the service's workers has torch in memory; those of other services may be there too."""
    store = str(service.backend.store.root)
    children = psutil.Process().children(recursive=True)
    jobs = [each for each in children if "mistudio_jobs.child" in each.cmdline() and store in " ".join(each.cmdline())]
    assert jobs
    return any("libtorch" in mapped.path for child in jobs for mapped in child.memory_maps())


async def test_a_load_tells_the_bytes_of_the_weights_that_it_has_read(service, models):
    model_id = models.put()
    async with _worker(service):
        job = await _load(service, model_id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    stored = (models.folder(model_id) / "model.safetensors").stat().st_size
    assert job.progress.unit == "bytes" and job.progress.stage == "proving"
    assert 0.95 * stored < job.progress.done == job.progress.total < stored


async def test_what_a_load_took_is_kept_once(service, models):
    model_id = models.put()
    async with _worker(service):
        first = await _load(service, model_id, "NF4")
        measured = service.rows(
            "SELECT worker, device, settings ->> 'format', measured_weights_bytes = predicted_weights_bytes "
            "FROM measurements WHERE model_id = %s",
            model_id,
        )
        pinned = await service.stub.LoadModel(
            pb.LoadModelRequest(
                id=model_id, settings=weights_pb2.LoadSettings(format=weights_pb2.WEIGHT_FORMAT_NF4), pin=True
            )
        )
        again = await _until(service, pinned.job.id, *_ENDED)
    assert first.state == again.state == job_pb2.JOB_STATE_SUCCEEDED
    assert first.id != again.id
    assert measured == [("holder", "cpu", "NF4", True)]
    assert service.rows("SELECT count(*) FROM measurements") == [(1,)]


async def test_a_worker_does_without_torch_until_it_loads_its_first_model(service, models, hub):
    model_id = models.put()
    async with _worker(service):
        request = pb.DownloadModelRequest(repo_id=hub.gpt)
        download = (await service.stub.DownloadModel(request)).job
        assert (await _until(service, download.id, *_ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED
        assert not _has_torch(service)
        assert (await _load(service, model_id)).state == job_pb2.JOB_STATE_SUCCEEDED
        assert _has_torch(service)


async def test_a_model_that_does_not_fit_is_told_with_what_would(service, models):
    model_id = models.put(**_BIG)
    async with _worker(service, budget_bytes=90_000_000):
        failed = await _load(service, model_id, "BF16")
        assert failed.state == job_pb2.JOB_STATE_FAILED
        assert failed.error.failure_class == job_pb2.FAILURE_CLASS_OOM
        assert "BF16" in failed.error.message and failed.error.suggestion.startswith("Load it in INT8: it then needs ")
        held = await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest())
        assert list(held.models) == []
        assert (await _load(service, model_id, "INT8")).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_load_names_the_models_that_made_room_for_it_in_its_result_and_in_the_list(service, models):
    first, second = models.put(**_BIG), models.put(**_BIG)
    async with _worker(service, budget_bytes=210_000_000):
        before = await _load(service, first, "BF16")
        job = await _load(service, second, "BF16")
        assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
        listing = await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest())
        of_first = await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest(model_id=first))
        other = models.put()
        of_other = await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest(model_id=other))
    assert MessageToDict(before.result)["evicted"] == []
    (named,) = MessageToDict(job.result)["evicted"]
    assert (named["model_id"], named["for_model_id"], named["job_id"]) == (first, second, job.id)
    assert [each.model_id for each in listing.models] == [second]
    (eviction,) = listing.evictions
    assert (eviction.model_id, eviction.worker, eviction.device) == (first, "holder", "cpu")
    assert (eviction.for_model_id, eviction.job_id) == (second, job.id)
    assert eviction.settings.format == weights_pb2.WEIGHT_FORMAT_BF16
    assert eviction.freed_bytes == named["freed_bytes"] > 0
    assert (list(of_first.models), list(of_first.evictions)) == ([], [eviction])
    assert list(of_other.evictions) == []


async def test_a_load_that_is_cancelled_ends_at_once_and_leaves_nothing(service, models):
    model_id, other = models.put(**_BIG), models.put()
    async with _worker(service):
        assert (await _load(service, other)).state == job_pb2.JOB_STATE_SUCCEEDED
        job_id = await _ask(service, model_id, "NF4")
        await _until(service, job_id, job_pb2.JOB_STATE_RUNNING)
        await service.jobs.CancelJob(jobs_service_pb2.CancelJobRequest(id=job_id))
        assert (await _until(service, job_id, *_ENDED)).state == job_pb2.JOB_STATE_CANCELLED
        held = await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest(model_id=model_id))
        assert list(held.models) == []
        assert (await _load(service, other)).state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_model_that_was_deleted_meanwhile_leaves_no_measurement(service, models):
    model_id = models.put()
    job_id = await _ask(service, model_id)
    models.made.execute("DELETE FROM models WHERE id = %(id)s", {"id": model_id})
    async with _worker(service):
        assert (await _until(service, job_id, *_ENDED)).state == job_pb2.JOB_STATE_SUCCEEDED
    assert service.rows("SELECT count(*) FROM measurements") == [(0,)]


async def test_a_damaged_model_fails_for_good_with_the_name_of_its_file(service, models):
    model_id = models.put()
    path = models.folder(model_id) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    async with _worker(service):
        job = await _load(service, model_id)
    assert (job.state, job.attempt) == (job_pb2.JOB_STATE_FAILED, 1)
    assert "model.safetensors" in job.error.message and job.error.suggestion

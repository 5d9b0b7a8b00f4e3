"""Workers for GPUs take the jobs that need one, and no others."""

from __future__ import annotations

import asyncio

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import loading_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_jobs.testing import PROMPT
from mistudio_local.gpus import has_gpu
from mistudio_models.config import WorkerConfig
from mistudio_models.worker import working
from mistudio_servicekit.backend import WorkerProcessConfig

from .made_models import MadeModels
from .stored_models import StoredModels

TRIED = (job_pb2.JOB_STATE_RETRY_WAIT, job_pb2.JOB_STATE_FAILED, job_pb2.JOB_STATE_SUCCEEDED)


async def test_a_worker_for_gpus_takes_only_jobs_for_gpus_and_says_so_where_it_has_none(service, hub):
    model = StoredModels(MadeModels(service.database), service.backend.store).put("llama", num_hidden_layers=1)
    waiting = (await service.download(hub.gpt)).job
    request = pb.LoadModelRequest(id=model, device=loading_pb2.DEVICE_PREFERENCE_GPU)
    load = (await service.stub.LoadModel(request)).job
    assert (waiting.pool, load.pool) == ("cpu", "gpu")
    worker = WorkerProcessConfig(service.backend, "tester of GPUs", "gpu", "127.0.0.1:0")
    async with working(WorkerConfig(worker), PROMPT):
        tried = await _tried(service, load.id)
        if has_gpu():
            assert tried.state == job_pb2.JOB_STATE_SUCCEEDED, tried.error
        else:
            assert tried.error.reason == "BACKEND_UNAVAILABLE"
            assert "no GPU that it can use" in tried.error.message
        untouched = await _job(service, waiting.id)
        assert (untouched.state, untouched.attempt) == (job_pb2.JOB_STATE_QUEUED, 0)
        assert untouched.wait.workers == 0


async def _job(service, job_id: str) -> job_pb2.Job:
    job: job_pb2.Job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job
    return job


async def _tried(service, job_id: str) -> job_pb2.Job:
    """The job, once a worker has tried it."""
    async with asyncio.timeout(150):
        while (job := await _job(service, job_id)).state not in TRIED:
            await asyncio.sleep(0.05)
    return job

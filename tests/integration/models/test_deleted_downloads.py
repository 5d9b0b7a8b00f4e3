"""Models that are deleted while they are downloaded, with another worker there to remove their files at once."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_jobs.testing import PROMPT
from mistudio_local.hub_mirror.faults import Body
from mistudio_models.config import WorkerConfig
from mistudio_models.worker import working
from mistudio_servicekit.backend import WorkerProcessConfig

_ROUNDS = 4


@pytest.fixture
def slow(hub):
    """A download of many small files and a large one, which takes a minute unless it is stopped."""
    (hub.folder(hub.gpt) / "large.safetensors.part").write_bytes(os.urandom(4_000_000))
    for number in range(20):
        (hub.folder(hub.gpt) / f"shard{number}.safetensors.part").write_bytes(os.urandom(20_000))
    hub.mirror.faults.bodies.append(Body(times=None, path="*.part", bytes_per_second=60_000))
    return hub


async def _ended(service, job_id: str) -> job_pb2.Job:
    async with asyncio.timeout(100):
        while True:
            job: job_pb2.Job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job
            if job.HasField("end_time"):
                return job
            await asyncio.sleep(0.02)


async def _begun(service, model_id: str) -> None:
    async with asyncio.timeout(100):
        while not any(service.folder(model_id).rglob("*.part*")):
            await asyncio.sleep(0.01)


async def test_a_model_that_is_deleted_while_it_is_downloaded_is_no_fault_of_anybody(service, slow, caplog, capfd):
    dice = random.Random(7)  # the machine's own timing does the rest
    await service.start_worker()
    process = WorkerProcessConfig(service.backend, "remover", "cpu", "127.0.0.1:0")
    async with working(WorkerConfig(process), PROMPT):
        for _ in range(_ROUNDS):
            model = (await service.download(slow.gpt)).model
            await _begun(service, model.id)
            await asyncio.sleep(dice.uniform(0, 0.3))
            cleanup = (await service.stub.DeleteModel(pb.DeleteModelRequest(id=model.id))).job
            assert (await _ended(service, model.job_id)).state == job_pb2.JOB_STATE_CANCELLED
            assert (await _ended(service, cleanup.id)).state == job_pb2.JOB_STATE_SUCCEEDED
            assert not service.folder(model.id).exists()
    assert [line for line in capfd.readouterr().err.splitlines() if '"level": "error"' in line] == []
    # The mirror logs what is cut off as well; that is not ours.
    ours = [record for record in caplog.records if record.name.startswith("mistudio_") and record.levelname == "ERROR"]
    assert [record.getMessage() for record in ours] == []

"""A store that has too little room for a model, found out at every moment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import model_pb2
from mistudio_local.hub_mirror.faults import Body
from mistudio_servicekit.backend import BackendConfig
from mistudio_servicekit.storage import Store
from tests.small_disk import fill, small_disk

BIG_FILE = "big.safetensors.part"


@pytest.fixture
def backend(backend, tmp_path) -> Iterator[BackendConfig]:
    with small_disk(tmp_path / "disk", "12m") as disk:
        yield replace(backend, store=Store(disk))


@pytest.fixture
def big(hub):
    (hub.folder(hub.gpt) / BIG_FILE).write_bytes(os.urandom(4_000_000))
    return hub


async def _assert_told(service, model: model_pb2.Model) -> None:
    """The model and its job say the same, and nothing of them is left in the store."""
    job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=model.job_id))).job
    assert (model.status, job.state) == (model_pb2.MODEL_STATUS_ERROR, job_pb2.JOB_STATE_FAILED)
    assert (job.error.reason, job.error.failure_class) == ("DISK_FULL", job_pb2.FAILURE_CLASS_DISK_FULL)
    assert "tiny/gpt" in job.error.message
    assert "Delete datasets or models" in job.error.suggestion
    assert model.error == job.error
    assert not service.folder(model.id).exists()


async def test_a_disk_that_fills_up_before_the_download_runs_is_told_before_the_first_byte(service, big):
    asked = await service.download(big.gpt)
    fill(service.backend.store.root)
    await service.start_worker()
    await _assert_told(service, await service.ended(asked.model.id))
    assert big.mirror.faults.bytes_sent(f"*{BIG_FILE}") == 0


async def test_a_disk_that_fills_up_in_a_download_is_told_and_with_room_a_retry_succeeds(service, big):
    big.mirror.faults.bodies.append(Body(times=None, path=f"*{BIG_FILE}", bytes_per_second=500_000))
    asked = await service.download(big.gpt)
    await service.start_worker()
    async with asyncio.timeout(100):
        while big.mirror.faults.bytes_sent(f"*{BIG_FILE}") == 0:  # the mirror tells nobody that it has begun
            await asyncio.sleep(0.02)
    filler = fill(service.backend.store.root)
    await _assert_told(service, await service.ended(asked.model.id))
    filler.unlink()
    big.mirror.faults.clear()
    await service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=asked.job.id))
    ready = await service.ended(asked.model.id)
    assert (ready.status, ready.HasField("error")) == (model_pb2.MODEL_STATUS_READY, False)

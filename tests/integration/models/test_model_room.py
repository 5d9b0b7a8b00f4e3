"""Downloads share the store: each has room of its own, and none is lost when they are moved, killed or stopped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_jobs import streams
from mistudio_local.hub_mirror.faults import Body
from mistudio_servicekit.backend import BackendConfig
from mistudio_servicekit.storage import RESERVATIONS_FOLDER, Store

from .worker_process import worker_process

MB = 1_000_000
BIG_FILE = "big.txt"
_REFETCHED_PER_STREAM = 16 * 2**20


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for something outside of the service to become true."""
    async with asyncio.timeout(100):
        while not condition():  # files, processes and the mirror tell nobody when they change
            await asyncio.sleep(0.02)


async def _job(service, model) -> job_pb2.Job:
    job: job_pb2.Job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=model.job_id))).job
    return job


@pytest.fixture
def first(hub) -> str:
    """A model of 6 MB, which comes slowly."""
    return _slow_model(hub, "tiny/first")


@pytest.fixture
def second(hub) -> str:
    """Another one."""
    return _slow_model(hub, "tiny/second")


def _slow_model(hub, repo_id: str) -> str:
    hub.folder(repo_id).mkdir(parents=True)
    (hub.folder(repo_id) / BIG_FILE).write_bytes(os.urandom(6 * MB))
    hub.mirror.faults.bodies.append(Body(times=None, path=f"/{repo_id}/*", bytes_per_second=MB // 2))
    return repo_id


def _sent(hub, repo_id: str) -> int:
    sent: int = hub.mirror.faults.bytes_sent(f"*{repo_id}*/{BIG_FILE}")
    return sent


class TestInAStoreWithRoomForOne:
    @pytest.fixture
    def backend(self, backend: BackendConfig) -> BackendConfig:
        return replace(backend, store=Store(backend.store.root, quota_bytes=10 * MB))

    async def test_the_second_is_refused_before_its_first_byte_and_has_the_room_when_the_first_is_stopped(
        self, service, hub, first, second
    ):
        waiting = {repo_id: (await service.download(repo_id)).model for repo_id in (first, second)}
        with worker_process(service.backend, "a"), worker_process(service.backend, "b"):
            await _until(lambda: _sent(hub, first) + _sent(hub, second) > 0)
            winner, loser = (first, second) if _sent(hub, first) else (second, first)
            refused = await service.ended(waiting[loser].id)
            assert (refused.status, refused.error.reason) == (model_pb2.MODEL_STATUS_ERROR, "DISK_FULL")
            assert f"Downloading {winner}" in refused.error.message
            assert refused.error.suggestion.startswith("Wait until these have ended")
            assert _sent(hub, loser) == 0
            error = await service.refusal(service.download(loser))
            assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
            assert f"Downloading {winner}" in error.message
            await service.stub.CancelModelDownload(pb.CancelModelDownloadRequest(id=waiting[winner].id))
            assert (await service.ended(waiting[winner].id)).status == model_pb2.MODEL_STATUS_CANCELLED
            await _until(lambda: not service.folder(waiting[winner].id).exists())
            hub.mirror.faults.clear()
            await service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=refused.job_id))
            assert (await service.ended(refused.id)).status == model_pb2.MODEL_STATUS_READY
        assert service.backend.store.free_bytes() == pytest.approx(4 * MB, abs=MB / 10)

    async def test_room_of_a_killed_download_is_free_at_once_though_its_job_is_not_over(self, service, hub, first):
        store = service.backend.store
        model = (await service.download(first)).model
        with worker_process(service.backend, "a") as worker:
            await _until(lambda: _sent(hub, first) > MB // 2)
            await _until(lambda: store.free_bytes() < 5 * MB)
            worker.kill()
            await _until(lambda: store.free_bytes() > 6 * MB)
        assert (await service.get(model.id)).status == model_pb2.MODEL_STATUS_DOWNLOADING
        assert not list((store.root / RESERVATIONS_FOLDER).glob("*.room"))

    async def test_what_another_service_reserves_is_left_alone(self, service, hub, first):
        with service.backend.store.reserve(5 * MB, "Downloading another/dataset"):
            error = await service.refusal(service.download(first))
        assert (error.reason, "another/dataset" in error.message) == ("DISK_FULL", True)
        assert not (await service.download(first)).joined


async def test_a_download_moves_to_another_worker_when_its_own_is_killed_and_fetches_little_again(service, hub, first):
    path = hub.folder(first) / BIG_FILE
    path.write_bytes(os.urandom(40 * MB))
    hub.mirror.faults.clear()
    hub.mirror.faults.bodies.append(Body(times=None, path=f"/{first}/*", bytes_per_second=8 * MB))
    model = (await service.download(first)).model
    with worker_process(service.backend, "killed") as killed:
        await _until(lambda: _sent(hub, first) > 20 * MB)
        killed.kill()
        killed.wait()
        before = _sent(hub, first)
    hub.mirror.faults.clear()
    with worker_process(service.backend, "other"):
        ready = await service.ended(model.id)
    assert ready.status == model_pb2.MODEL_STATUS_READY
    assert (service.folder(model.id) / str(ready.epoch) / BIG_FILE).read_bytes() == path.read_bytes()
    attempts = (await _job(service, model)).attempts
    assert [(attempt.worker, attempt.outcome) for attempt in attempts] == [("killed", "lost"), ("other", "succeeded")]
    assert before > 20 * MB
    assert _sent(hub, first) < 40 * MB + 3 * _REFETCHED_PER_STREAM // 2


async def _events(service, model) -> list[job_pb2.JobEvent]:
    """All that the log has of the model's job, once its end is there."""
    events: list[job_pb2.JobEvent] = []
    nats = await streams.connect(service.backend.nats_url, "test")
    try:
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, mem_storage=True)
        subject = f"evt.models.{model.job_id}.>"
        reader = await nats.jetstream().pull_subscribe(subject, stream=streams.EVENTS, config=config)
        while not (events and events[-1].state_changed.HasField("end_time")):
            (message,) = await reader.fetch(1, timeout=30)
            events.append(job_pb2.JobEvent.FromString(message.data))
    finally:
        await nats.close()
    return events


async def test_progress_counts_every_byte_of_a_known_total_and_never_falls(service, hub, first):
    hub.mirror.faults.clear()
    hub.mirror.faults.bodies.append(Body(times=None, bytes_per_second=3 * MB))
    model = (await service.download(first)).model
    await service.start_worker()
    ready = await service.ended(model.id)
    told = [event.progress for event in await _events(service, model) if event.HasField("progress")]
    done = [progress.done for progress in told]
    assert len(told) > 5
    assert done == sorted(done)
    assert {(progress.total, progress.unit) for progress in told} == {(ready.size_bytes, "bytes")}
    assert (await _job(service, model)).progress.done == ready.size_bytes


async def test_a_file_that_never_has_its_checksum_ends_the_download_as_such(service, hub, first):
    hub.mirror.faults.clear()
    hub.mirror.faults.bodies.append(Body(times=None, path=f"/{first}/*{BIG_FILE}", corrupt_at=1000))
    model = (await service.download(first)).model
    with worker_process(service.backend, "a"):
        failed = await service.ended(model.id)
    assert (failed.status, failed.error.reason) == (model_pb2.MODEL_STATUS_ERROR, "CHECKSUM_MISMATCH")
    assert BIG_FILE in failed.error.message
    job = await _job(service, model)
    assert (job.state, job.attempt, len(job.attempts)) == (job_pb2.JOB_STATE_FAILED, 5, 5)
    assert job.error.reason == "CHECKSUM_MISMATCH"
    assert not service.folder(model.id).exists()

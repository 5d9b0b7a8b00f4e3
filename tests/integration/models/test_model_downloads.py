"""Models that workers bring in, give up, and remove."""

from __future__ import annotations

import asyncio
import os

import pytest

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio.models.v2 import model_pb2
from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_local.hub_mirror.faults import Body, Refusal
from mistudio_local.hub_mirror.shelf import MODEL_ID, fill


async def _until(condition) -> None:
    """Wait for something outside of the service to become true."""
    async with asyncio.timeout(100):
        while not condition():  # files and the mirror tell nobody when they change
            await asyncio.sleep(0.02)


async def _job(service, job_id) -> job_pb2.Job:
    job: job_pb2.Job = (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job
    return job


async def _job_ended(service, job_id) -> job_pb2.Job:
    while True:
        job = await _job(service, job_id)
        if job.HasField("end_time"):
            return job
        await asyncio.sleep(0.02)


def _files(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_downloaded_model_has_the_hubs_files_byte_for_byte(service, hub):
    await service.start_worker()
    asked = await service.download(hub.gpt)
    model = await service.ended(asked.model.id)
    assert model.status == model_pb2.MODEL_STATUS_READY
    files = _files(service.folder(model.id) / str(model.epoch))
    served = hub.folder(hub.gpt)
    wanted = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    assert files == {name: (served / name).read_bytes() for name in wanted}
    assert model.size_bytes == sum(map(len, files.values()))
    job = await _job(service, asked.job.id)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED
    assert (job.progress.done, job.progress.total, job.progress.unit) == (model.size_bytes, model.size_bytes, "bytes")


async def test_a_real_model_is_brought_in_and_joined_by_later_requests(service, hub):
    fill(hub.root)
    await service.start_worker()
    first = await service.download(MODEL_ID)
    ready = await service.ended(first.model.id)
    assert (ready.status, ready.facts.parameters) == (model_pb2.MODEL_STATUS_READY, 22_713_728)
    assert ready.facts.has_tokenizer
    again = await service.download(MODEL_ID, name="Another name", request_id="fresh")
    assert (again.joined, again.model) == (True, ready)
    assert again.job.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_a_model_without_a_tokenizer_is_welcome(service, hub):
    await service.start_worker()
    model = await service.ended((await service.download(hub.sharded)).model.id)
    assert model.status == model_pb2.MODEL_STATUS_READY
    assert not model.facts.has_tokenizer


async def test_a_token_opens_a_gated_model_and_is_found_nowhere(service, hub, caplog, capfd):
    caplog.set_level("DEBUG")
    asked = await service.download(hub.gated, hub_token=hub.ada_token, request_id="mine")
    wrong = await service.refusal(service.download(hub.gated, hub_token=hub.bob_token))
    assert wrong.reason == "REPO_GATED"
    waiting = _everything(service)
    await service.start_worker()
    model = await service.ended(asked.model.id)
    assert model.status == model_pb2.MODEL_STATUS_READY
    assert service.rows("SELECT secrets FROM jobs") == [(None,)]
    kept = {name: content.decode("latin-1") for name, content in _files(service.folder(model.id)).items()}
    seen = [
        waiting,
        _everything(service),
        caplog.text,
        capfd.readouterr().err,
        str(asked),
        str(model),
        wrong.message,
        str(kept),
    ]
    for token in (hub.ada_token, hub.bob_token):
        assert not [text for text in seen if token in text]


def _everything(service) -> str:
    """Every column of every table of the schema, as text; bytes are searched as they are."""
    tables = service.rows("SELECT table_name FROM information_schema.tables WHERE table_schema = 'models'")
    assert len(tables) >= 5
    rows = [row for (table,) in tables for row in service.rows(f'SELECT * FROM "{table}"')]
    plain = [value.decode("latin-1") if isinstance(value, bytes) else str(value) for row in rows for value in row]
    return "\n".join(plain)


@pytest.fixture
def slow(hub):
    """A download that takes a minute unless it is stopped."""
    big = hub.folder(hub.gpt) / "big.safetensors.part"
    big.write_bytes(os.urandom(4_000_000))
    hub.mirror.faults.bodies.append(Body(times=None, path="*.part", bytes_per_second=60_000))
    return hub


async def _running(service, repo_id) -> model_pb2.Model:
    model: model_pb2.Model = (await service.download(repo_id)).model
    await _until(lambda: any(path.is_file() for path in service.folder(model.id).rglob("*.part*")))
    return model


async def test_a_running_download_is_cancelled_at_once_and_leaves_no_file(service, slow):
    await service.start_worker()
    model = await _running(service, slow.gpt)
    async with asyncio.timeout(100):
        answer = await service.stub.CancelModelDownload(pb.CancelModelDownloadRequest(id=model.id))
        assert answer.job.state == job_pb2.JOB_STATE_CANCELLING
        assert (await service.ended(model.id)).status == model_pb2.MODEL_STATUS_CANCELLED
    await _until(lambda: not service.folder(model.id).exists())


async def test_a_running_download_is_deleted_with_all_its_files(service, slow):
    await service.start_worker()
    model = await _running(service, slow.gpt)
    cleanup = (await service.stub.DeleteModel(pb.DeleteModelRequest(id=model.id))).job
    assert (await service.refusal(service.get(model.id))).reason == "MODEL_NOT_FOUND"
    assert (await _job_ended(service, model.job_id)).state == job_pb2.JOB_STATE_CANCELLED
    assert (await _job_ended(service, cleanup.id)).state == job_pb2.JOB_STATE_SUCCEEDED
    assert not service.folder(model.id).exists()


async def test_a_deleted_models_files_are_removed_and_its_siblings_stay(service, hub):
    await service.start_worker()
    first = await service.ended((await service.download(hub.gpt)).model.id)
    second = await service.ended((await service.download(hub.bare)).model.id)
    job = (await service.stub.DeleteModel(pb.DeleteModelRequest(id=first.id, etag=first.etag))).job
    ended = await _job_ended(service, job.id)
    assert (ended.state, ended.result["freed_bytes"]) == (job_pb2.JOB_STATE_SUCCEEDED, first.size_bytes)
    assert not service.folder(first.id).exists()
    assert service.folder(second.id).exists()
    assert [model.id for model in (await service.stub.ListModels(pb.ListModelsRequest())).models] == [second.id]


async def test_a_download_that_fails_for_good_says_why_and_can_be_retried(service, hub):
    asked = await service.download(hub.gpt)
    weights = hub.folder(hub.gpt) / "model.safetensors"
    hub.mirror.faults.refusals.append(Refusal(status=404, times=None, path="*/model.safetensors"))
    await service.start_worker()
    failed = await service.ended(asked.model.id)
    assert (failed.status, failed.error.reason) == (model_pb2.MODEL_STATUS_ERROR, "ENTRY_NOT_FOUND")
    assert "model.safetensors" in failed.error.message
    assert failed.error == (await _job(service, asked.job.id)).error
    assert not service.folder(failed.id).exists()
    hub.mirror.faults.clear()
    await service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=asked.job.id))
    ready = await service.ended(asked.model.id)
    assert ready.status == model_pb2.MODEL_STATUS_READY
    assert not ready.HasField("error")
    assert (service.folder(ready.id) / str(ready.epoch) / weights.name).read_bytes() == weights.read_bytes()

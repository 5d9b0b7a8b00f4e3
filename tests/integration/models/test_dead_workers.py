"""What is said of models in the memory of a worker that was killed a moment ago."""

from __future__ import annotations

import asyncio

import pytest

from mistudio.models.v2 import models_service_pb2 as pb
from mistudio.models.v2 import weights_pb2

from .stored_models import StoredModels
from .told_workers import ToldWorkers, loaded
from .worker_process import worker_process

_BF16 = weights_pb2.LoadSettings(format=weights_pb2.WEIGHT_FORMAT_BF16)


@pytest.fixture
def models(service, made) -> StoredModels:
    return StoredModels(made, service.backend.store)


async def _there(service, count: int) -> None:
    """Wait until so many workers can hold models."""
    async with asyncio.timeout(100):
        while len((await service.stub.ListLoadedModels(pb.ListLoadedModelsRequest())).hosts) != count:
            await asyncio.sleep(0.02)


def _hold(service, made, worker: str, model_id: str, job_id: str) -> None:
    """The worker was heard of just now, and has told that it holds the model that the job loaded."""
    ToldWorkers(made).put(worker, loaded(model_id, job_id=job_id))
    made.execute("UPDATE workers SET seen_at = now() + interval '1 hour'")


async def test_what_a_killed_worker_held_is_loaded_afresh_unloaded_nowhere_and_deleted(service, made, models):
    model_id = models.put("gpt2")
    wish = pb.LoadModelRequest(id=model_id, settings=_BF16)
    first = (await service.stub.LoadModel(wish)).job.id
    made.execute("UPDATE jobs SET state = 'SUCCEEDED', finished_at = now() WHERE id = %(id)s", {"id": first})
    with worker_process(service.backend, "mortal"):
        await _there(service, 1)
    _hold(service, made, "mortal", model_id, first)
    await _there(service, 0)
    again = await service.stub.LoadModel(wish)
    assert (again.joined, again.HasField("loaded"), again.job.id != first) == (False, False, True)
    assert again.job.pool == "cpu"
    error = await service.refusal(service.stub.UnloadModel(pb.UnloadModelRequest(id=model_id)))
    assert error.reason == "MODEL_NOT_LOADED"
    await service.stub.DeleteModel(pb.DeleteModelRequest(id=model_id, force=True))

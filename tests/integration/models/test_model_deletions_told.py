"""Other services hear of every deleted model, and of none that is kept."""

from __future__ import annotations

import asyncio
from datetime import datetime
from uuid import UUID

from mistudio.models.v2 import models_service_pb2 as pb
from mistudio_jobs.deletions import hearing_deletions
from mistudio_models.config import SERVICE


class Ear:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._news = asyncio.Event()

    async def deleted(self, resource_id: UUID, at: datetime) -> None:
        self.heard.append(str(resource_id))
        self._news.set()

    async def reconcile(self) -> None:
        """Nothing: this ear is there from the beginning."""

    async def until(self, count: int) -> set[str]:
        """What it has heard, once that is so much."""
        async with asyncio.timeout(100):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()
        return set(self.heard)


async def test_every_deleted_model_is_told_alone_or_in_a_batch_and_only_once(service, hub):
    ids = [(await service.download(repo)).model.id for repo in (hub.gpt, hub.sharded, hub.bare)]
    ear = Ear()
    async with hearing_deletions(service.backend.nats_url, "tester", SERVICE, ear):
        await service.stub.DeleteModel(pb.DeleteModelRequest(id=ids[0]))
        assert await ear.until(1) == {ids[0]}
        answer = await service.stub.BatchDeleteModels(pb.BatchDeleteModelsRequest(ids=[*ids, "nonsense"]))
        assert list(answer.deleted_ids) == ids[1:]
        assert await ear.until(3) == set(ids)
    assert len(ear.heard) == len(ids)

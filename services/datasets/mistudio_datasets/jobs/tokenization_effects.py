"""What the turns of a job do to its tokenization; all in the transaction that turns the job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from mistudio_datasets.data.tokens.tokenizing import read_statistics
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_datasets.jobs.effects import WorkEffects
from mistudio_datasets.store import tokenizations
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session
from mistudio_servicekit.storage import Area, Store


class TokenizationEffects(WorkEffects[Tokenization]):
    """Effects of tokenizing.

    Args:
        store: where the job leaves the statistics.
    """

    gone = ("its tokenization is deleted", "Create the tokenization again")

    def __init__(self, store: Store) -> None:
        super().__init__(tokenizations)
        self._store = store

    async def figures(self, job: Job, result: Mapping[str, Any]) -> Mapping[str, object]:
        """What the job counted, with the statistics that it left."""
        folder = self._store.epoch(Area.TOKENIZATIONS, job.resource_id, job.epoch)
        statistics = await asyncio.to_thread(read_statistics, folder)
        kept = {name: result[name] for name in ("documents", "tokens", "size_bytes", "engine", "tokenizer_sha256")}
        return {"statistics": statistics.to_json(), **kept}

    async def twin(self, session: Session, made: Tokenization) -> str | None:
        """The tokenization of the same dataset, model and settings."""
        same = made.dataset_id, made.model_id, made.settings
        await tokenizations.lock_identity(session, *same)
        twin = await tokenizations.find_alive(session, *same)
        return f"tokenization {twin.id}" if twin else None

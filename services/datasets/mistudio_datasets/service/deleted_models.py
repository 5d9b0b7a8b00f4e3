"""Tokenizations whose model is gone: they stay as they are, and say so."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from uuid import UUID

from mistudio_datasets.service.tools import ModelDirectory
from mistudio_datasets.store import tokenizations
from mistudio_servicekit.database import Database
from mistudio_servicekit.errors import ModelNotFound

log = logging.getLogger(__name__)


class DeletedModels:
    """Marks the tokenizations of deleted models; see `mistudio_jobs.deletions.Mending`.

    Args:
        database: where the tokenizations are.
        models: knows which models there are.
    """

    def __init__(self, database: Database, models: ModelDirectory) -> None:
        self._database = database
        self._models = models

    async def deleted(self, resource_id: UUID, at: datetime) -> None:
        """Mark all tokenizations of this model that are not marked yet."""
        async with self._database.transaction() as session:
            marked = await tokenizations.mark_model_deleted(session, resource_id, at)
        if marked:
            log.info("Model %s is deleted; %s tokenizations stay without it", resource_id, marked)

    async def reconcile(self) -> None:
        """Ask of the model of every tokenization that is not marked yet; one that is gone is taken to go just now.

        Raises:
            Unavailable: the models service cannot be reached.
        """
        async with self._database.transaction() as session:
            present = await tokenizations.unmarked_models(session)
        for model_id in present:
            try:
                await self._models.get(model_id)
            except ModelNotFound:
                await self.deleted(model_id, datetime.now(UTC))

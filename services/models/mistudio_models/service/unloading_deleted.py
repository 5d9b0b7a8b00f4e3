"""Gives back the memory of models that are deleted, but were held by a worker of which nothing was heard just then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mistudio_jobs import tasks
from mistudio_models.service.hosts import live_hosts, placed
from mistudio_models.service.tools import Tools
from mistudio_models.service.unloading import free
from mistudio_models.store import models
from mistudio_servicekit.database import DatabaseError
from mistudio_servicekit.errors import MistudioError

log = logging.getLogger(__name__)

_PERIOD_SECONDS = 5.0


async def unload_deleted(tools: Tools) -> None:
    """Have workers let go of what is no longer there; what fails is tried again in a while."""
    async with tools.database.transaction() as session:
        found = placed(await live_hosts(tools, session))
        alive = {model.id for model in await models.of_ids(session, {each.model.model_id for each in found})}
    for each in found:
        if each.model.model_id not in alive:
            try:
                await free(tools, each)
                log.info("Deleted model %s is unloaded: %s", each.model.model_id, each)
            except MistudioError as error:
                log.info("Deleted model %s is not unloaded yet: %s", each.model.model_id, error.problem)


@asynccontextmanager
async def unloading_deleted(tools: Tools) -> AsyncIterator[None]:
    """Looks for such models until the block is left; several replicas may."""
    looking = asyncio.create_task(_keep_looking(tools), name="deleted models in memory")
    try:
        yield
    finally:
        await tasks.cancel([looking])


async def _keep_looking(tools: Tools) -> None:
    while True:
        await asyncio.sleep(_PERIOD_SECONDS)
        try:
            await unload_deleted(tools)
        except (DatabaseError, OSError) as error:
            log.warning("Deleted models in memory could not be looked for: %s", type(error).__name__)

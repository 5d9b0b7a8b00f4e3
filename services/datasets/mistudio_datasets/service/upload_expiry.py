"""Gives up uploads that nobody has gone on with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mistudio_datasets.store import uploads
from mistudio_jobs import tasks
from mistudio_servicekit.database import Database, DatabaseError
from mistudio_servicekit.storage import Area, Store, remove_tree

log = logging.getLogger(__name__)

_PERIOD_SECONDS = 60.0


async def sweep_uploads(database: Database, store: Store) -> int:
    """Remove the records of expired uploads, and the files of those that are incomplete; how many of these."""
    async with database.transaction() as session:
        given_up = await uploads.remove_expired(session)
    for dataset_id in given_up:
        # What is left if this process dies here, or by a stream that still writes, is the store's sweeper's.
        await asyncio.to_thread(remove_tree, store.resource(Area.DATASETS, dataset_id))
    return len(given_up)


@asynccontextmanager
async def sweeping_uploads(database: Database, store: Store) -> AsyncIterator[None]:
    """Sweeps until the block is left; several replicas may."""
    sweeping = asyncio.create_task(_keep_sweeping(database, store), name="upload expiry")
    try:
        yield
    finally:
        await tasks.cancel([sweeping])


async def _keep_sweeping(database: Database, store: Store) -> None:
    while True:
        try:
            given_up = await sweep_uploads(database, store)
        except (DatabaseError, OSError) as error:
            log.warning("Expired uploads could not be removed: %s", type(error).__name__)
        else:
            if given_up:
                log.info("Gave up %s uploads that nobody went on with", given_up)
        await asyncio.sleep(_PERIOD_SECONDS)

"""The records of a dataset's source files that could not be read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from mistudio_datasets.data.incoming.records import DAMAGED_FILE
from mistudio_datasets.domain.datasets import require_ready
from mistudio_datasets.service import datasets
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.storage import Area

_CHUNK_BYTES = 1 << 20


async def read_damaged_lines(tools: Tools, dataset_id: UUID) -> AsyncIterator[bytes]:
    """The JSON Lines that list them, in pieces of at most 1 MiB; nothing where every record was read.

    Raises:
        DatasetNotFound, DatasetNotReady: there is nothing that was read.
    """
    dataset = await datasets.get(tools, dataset_id)
    require_ready(dataset)
    path = tools.store.epoch(Area.DATASETS, dataset.id, dataset.epoch) / DAMAGED_FILE
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError:
        await datasets.get(tools, dataset_id)  # deleted meanwhile, which this says
        return
    with file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk

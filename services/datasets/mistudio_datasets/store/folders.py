"""Which folders of the store count."""

from __future__ import annotations

from uuid import UUID

from mistudio_datasets.store.tables import DatasetRow, TokenizationRow
from mistudio_servicekit import records
from mistudio_servicekit.database import Session
from mistudio_servicekit.storage import Area


async def named_folders(session: Session, area: Area) -> set[tuple[UUID, int]]:
    """Resource and epoch of every folder of `area` that a row names."""
    table = TokenizationRow if area is Area.TOKENIZATIONS else DatasetRow
    return await records.named_folders(session, table)

"""Which folders of the store count."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_datasets.store import datasets, tokenizations
from mistudio_servicekit.storage import Area


async def named_folders(session: AsyncSession, area: Area) -> set[tuple[UUID, int]]:
    """Resource and epoch of every folder of `area` that a row names."""
    if area is Area.TOKENIZATIONS:
        return await tokenizations.named_folders(session)
    return await datasets.named_folders(session)

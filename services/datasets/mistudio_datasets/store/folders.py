"""Which folders of the store count."""

from __future__ import annotations

from uuid import UUID

from mistudio_datasets.domain.uploads import UPLOAD_EPOCH
from mistudio_datasets.store import uploads
from mistudio_datasets.store.tables import DatasetRow, DerivedRow, ExportRow, TokenizationRow
from mistudio_servicekit import records
from mistudio_servicekit.database import Session
from mistudio_servicekit.records import ResourceRow
from mistudio_servicekit.storage import Area

_TABLES: dict[Area, type[ResourceRow]] = {
    Area.DATASETS: DatasetRow,
    Area.TOKENIZATIONS: TokenizationRow,
    Area.DERIVED: DerivedRow,
    Area.EXPORTS: ExportRow,
}


async def named_folders(session: Session, area: Area) -> set[tuple[UUID, int]]:
    """Resource and epoch of every folder of `area` that a row names."""
    named = await records.named_folders(session, _TABLES[area])
    if area is Area.DATASETS:
        named |= {(dataset_id, UPLOAD_EPOCH) for dataset_id in await uploads.unfinished(session)}
    return named

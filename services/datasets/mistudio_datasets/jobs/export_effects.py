"""What the turns of a job do to its export; all in the transaction that turns the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.domain.exports import Export
from mistudio_datasets.jobs.effects import WorkEffects
from mistudio_datasets.store import exports
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session


class ExportEffects(WorkEffects[Export]):
    """Effects of writing an export."""

    gone = ("its export is deleted", "Create the export again")

    def __init__(self) -> None:
        super().__init__(exports)

    async def figures(self, job: Job, result: Mapping[str, Any]) -> Mapping[str, object]:
        """What the job counted."""
        return {name: result[name] for name in ("sequences", "short_sequences", "tokens", "size_bytes")}

    async def twin(self, session: Session, made: Export) -> str | None:
        """The export of the same tokenization and settings."""
        same = made.tokenization_id, made.settings
        await exports.lock_identity(session, *same)
        twin = await exports.find_alive(session, *same)
        return f"export {twin.id}" if twin else None

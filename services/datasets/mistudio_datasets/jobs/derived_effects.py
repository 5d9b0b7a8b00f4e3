"""What the turns of a job do to the data that it derives; all in the transaction that turns the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.domain.derived import Derived
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.jobs.effects import WorkEffects
from mistudio_datasets.store import derived
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session


class DerivedEffects(WorkEffects[Derived]):
    """Effects of deriving data from a dataset."""

    waiting = WorkStatus.PROCESSING
    gone = ("its dataset is deleted", "Bring the dataset in again")

    def __init__(self) -> None:
        super().__init__(derived)

    async def started(self, session: Session, job: Job) -> None:
        """Nothing: it says PROCESSING since it was asked for."""

    async def figures(self, job: Job, result: Mapping[str, Any]) -> Mapping[str, object]:
        """What it takes in the store."""
        return {"size_bytes": result["size_bytes"]}

    async def twin(self, session: Session, made: Derived) -> str | None:
        """The data of the same kind and dataset."""
        same = made.dataset_id, made.kind
        await derived.lock_identity(session, *same)
        twin = await derived.find_alive(session, *same)
        return f"made by job {twin.job_id}" if twin else None

"""Data derived from a complete dataset: started once, joined by all who ask for the same."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from mistudio_datasets.domain.datasets import Dataset, require_ready
from mistudio_datasets.domain.derived import Derived, DerivedKind
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.store import datasets, derived
from mistudio_jobs.handler import JobKind
from mistudio_jobs.joining import being_cancelled, join
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_servicekit.database import Session, new_id
from mistudio_servicekit.errors import MistudioError, Unavailable
from mistudio_servicekit.records import Lock


@dataclass(frozen=True)
class DerivedOf:
    """Derived data and the dataset that it is derived from."""

    dataset: Dataset
    derived: Derived


async def create(tools: Tools, dataset_id: UUID, kind: DerivedKind) -> Started[DerivedOf]:
    """Start to derive data from a dataset, or join what derives or has derived it.

    Raises:
        DatasetNotFound, DatasetNotReady: the dataset forbids it.
        Unavailable: the same is just being cancelled.
    """
    async with tools.engine.transaction() as session:
        # Held against a deletion that would miss the new row.
        dataset = await datasets.get(session, dataset_id, lock=Lock.SHARED)
        require_ready(dataset)
        await derived.lock_identity(session, dataset_id, kind)
        known = await join(tools.engine, session, await derived.find_alive(session, dataset_id, kind), _being_cancelled)
        if known is None:
            return await _start(tools, session, dataset, kind)
        return Started(DerivedOf(dataset, known.resource), known.job, joined=True)


def _being_cancelled(known: Derived) -> MistudioError:
    what, subject = f"The {known.kind.noun} of dataset {known.dataset_id}", f"dataset/{known.dataset_id}"
    return being_cancelled(Unavailable, what, subject, again="make it afresh")


async def _start(tools: Tools, session: Session, dataset: Dataset, kind: DerivedKind) -> Started[DerivedOf]:
    # Without dedupe_key: who asks for the same meets in its row, under the lock of its identity.
    new = NewJob(
        kind=_job_kind(tools, kind),
        resource_id=new_id(),
        payload={"dataset_id": str(dataset.id), "dataset_epoch": dataset.epoch},
    )
    job = (await tools.engine.submit(session, new)).job
    made = Derived(
        id=job.resource_id,
        dataset_id=dataset.id,
        kind=kind,
        status=WorkStatus.PROCESSING,
        epoch=0,
        size_bytes=0,
        error=None,
        job_id=job.id,
        create_time=job.created_at,
        update_time=job.created_at,
    )
    return Started(DerivedOf(dataset, await derived.add(session, made)), job, joined=False)


def _job_kind(tools: Tools, kind: DerivedKind) -> JobKind:
    return {
        DerivedKind.WORD_INDEX: tools.kinds.word_index,
        DerivedKind.COLUMN_STATISTICS: tools.kinds.column_statistics,
    }[kind]


async def find(tools: Tools, dataset_id: UUID, kind: DerivedKind) -> Derived | None:
    """What was asked for last of this kind, however it ended; None if nobody ever did."""
    async with tools.database.transaction() as session:
        return await derived.find_latest(session, dataset_id, kind)

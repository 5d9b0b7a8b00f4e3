"""Letting datasets, tokenizations and exports go: rows at once and all or none, files by one job soon after.

Everybody locks jobs before the resources they work for, and a dataset before what is made of it: its tokenizations,
before their exports. Of each kind all are locked at once and in the order of their ids, so no two deletions wait for
one another in a ring. Whoever adds something to a dataset or tokenization holds that one meanwhile: nothing is missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID

from mistudio_datasets.domain.datasets import Dataset
from mistudio_datasets.domain.exports import Export
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_datasets.service.cleanup import cleanup_payload
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.store import datasets, derived, exports, tokenizations
from mistudio_jobs.handler import JobKind
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import BatchDeletion
from mistudio_jobs.tables import Job
from mistudio_servicekit.batches import Refusal, parse_ids
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import DatasetNotFound, MistudioError, ResourceInUse, TokenizationNotFound
from mistudio_servicekit.naming import first_of
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import check_etag, etag_of
from mistudio_servicekit.storage import Area

_NAMED_USERS = 5

_Folders = list[tuple[Area, UUID]]


async def delete_dataset(tools: Tools, dataset_id: UUID, *, etag: str = "", force: bool = False) -> Job:
    """Delete a dataset, with `force` its tokenizations too; what runs for them is stopped first.

    Returns:
        the job that removes the files.

    Raises:
        DatasetNotFound: no dataset has this id.
        Aborted: it has another etag.
        ResourceInUse: tokenizations need it, and `force` is not given.
    """
    async with tools.engine.transaction() as session:
        held = await _Held.of(tools, session, [dataset_id])
        problem = held.problem(dataset_id, etag, force=force)
        if problem is not None:
            raise problem
        return await _delete(tools, session, held, [dataset_id])


async def delete_datasets(tools: Tools, ids: Sequence[str], *, force: bool = False) -> BatchDeletion:
    """Delete each dataset that can be, as `delete_dataset` does; an id that is given twice counts once.

    Raises:
        MissingField, InvalidArgument: there are no ids, or too many; see `parse_ids`.
    """
    batch, wanted = BatchDeletion(), parse_ids(ids, "datasets")
    async with tools.engine.transaction() as session:
        held = await _Held.of(tools, session, [each for each in wanted.values() if isinstance(each, UUID)])
        for given, each in wanted.items():
            problem = held.problem(each, force=force) if isinstance(each, UUID) else each
            if problem is not None:
                batch.refusals.append(Refusal(given, problem))
            elif isinstance(each, UUID):
                batch.deleted.append(each)
        if batch.deleted:
            batch.job = await _delete(tools, session, held, batch.deleted)
    return batch


async def delete_tokenization(tools: Tools, tokenization_id: UUID, *, etag: str = "", force: bool = False) -> Job:
    """Delete a tokenization, with `force` its exports too; what runs for them is stopped first.

    Returns:
        the job that removes the files.

    Raises:
        TokenizationNotFound: no tokenization has this id.
        Aborted: it has another etag.
        ResourceInUse: exports need it, and `force` is not given.
    """
    async with tools.engine.transaction() as session:
        asked = await tokenizations.get(session, tokenization_id)
        made = await _hold_tokenizations(tools, session, [asked])
        if not made:
            raise TokenizationNotFound.of(str(tokenization_id))
        # Before any cancellation: that changes the tokenization itself.
        check_etag(etag, etag_of(made[0].version), f"Tokenization {tokenization_id}")
        written = await exports.of_tokenizations(session, [tokenization_id])
        needing = [export.id for export in written if not export.status.ended_badly]
        if needing and not force:
            raise _in_use("tokenization", tokenization_id, "export", needing)
        folders = await _remove_tokenizations(tools, session, made, written)
        return await _clean_up(tools, session, tools.kinds.tokenization_cleanup, folders)


async def delete_export(tools: Tools, export_id: UUID, *, etag: str = "") -> Job:
    """Delete an export; if it is being written, that is stopped first.

    Returns:
        the job that removes the files.

    Raises:
        ExportNotFound: no export has this id.
        Aborted: it has another etag.
    """
    async with tools.engine.transaction() as session:
        asked = await exports.get(session, export_id)
        await tools.engine.lock(session, [asked.job_id])
        export = await exports.get(session, export_id, lock=Lock.EXCLUSIVE)
        check_etag(etag, etag_of(export.version), f"Export {export_id}")
        folders = await _remove_exports(tools, session, [export])
        return await _clean_up(tools, session, tools.kinds.export_cleanup, folders)


@dataclass(frozen=True)
class _Held:
    """Datasets that are held exclusively, with what was made of them."""

    datasets: Mapping[UUID, Dataset]
    tokenizations: Mapping[UUID, Sequence[Tokenization]]

    @classmethod
    async def of(cls, tools: Tools, session: Session, dataset_ids: Sequence[UUID]) -> _Held:
        await tools.engine.lock(session, await datasets.job_ids(session, dataset_ids))
        held = {dataset.id: dataset for dataset in await datasets.lock_all(session, dataset_ids)}
        made = sorted(await tokenizations.of_datasets(session, held), key=_dataset_of)
        return cls(held, {dataset_id: list(group) for dataset_id, group in groupby(made, _dataset_of)})

    def problem(self, dataset_id: UUID, etag: str = "", *, force: bool) -> MistudioError | None:
        """Why the dataset cannot be deleted.

        Raises:
            Aborted: it has another etag.
        """
        dataset = self.datasets.get(dataset_id)
        if dataset is None:
            return DatasetNotFound.of(str(dataset_id))
        check_etag(etag, etag_of(dataset.version), f"Dataset {dataset_id}")
        made = self.tokenizations.get(dataset_id, ())
        needing = [tokenization.id for tokenization in made if not tokenization.status.ended_badly]
        return _in_use("dataset", dataset_id, "tokenization", needing) if needing and not force else None


def _dataset_of(tokenization: Tokenization) -> UUID:
    return tokenization.dataset_id


async def _delete(tools: Tools, session: Session, held: _Held, dataset_ids: Sequence[UUID]) -> Job:
    """Delete what is held of these datasets, from the leaves to the root."""
    needing = [each for dataset_id in dataset_ids for each in held.tokenizations.get(dataset_id, ())]
    made = await _hold_tokenizations(tools, session, needing)
    written = await exports.of_tokenizations(session, [tokenization.id for tokenization in made])
    folders = await _remove_tokenizations(tools, session, made, written)
    folders += await _remove_derived(tools, session, dataset_ids)
    await tools.engine.abandon(session, [held.datasets[dataset_id].job_id for dataset_id in dataset_ids])
    await datasets.remove(session, dataset_ids)
    own = [(Area.DATASETS, dataset_id) for dataset_id in dataset_ids]
    return await _clean_up(tools, session, tools.kinds.dataset_cleanup, own + folders)


async def _hold_tokenizations(tools: Tools, session: Session, made: Iterable[Tokenization]) -> Sequence[Tokenization]:
    """Those that are not gone meanwhile; nobody changes them or adds exports from here on."""
    job_of = {tokenization.id: tokenization.job_id for tokenization in made}
    await tools.engine.lock(session, list(job_of.values()))
    return await tokenizations.lock_all(session, job_of)


async def _remove_tokenizations(
    tools: Tools, session: Session, made: Sequence[Tokenization], written: Sequence[Export]
) -> _Folders:
    """Delete tokenizations that are held, with all their exports; returns their folders."""
    await tools.engine.lock(session, [export.job_id for export in written])
    folders = await _remove_exports(tools, session, written)
    await tools.engine.abandon(session, [tokenization.job_id for tokenization in made])
    await tokenizations.remove(session, [tokenization.id for tokenization in made])
    return [(Area.TOKENIZATIONS, tokenization.id) for tokenization in made] + folders


async def _remove_exports(tools: Tools, session: Session, written: Sequence[Export]) -> _Folders:
    """Delete exports whose jobs are held; returns their folders."""
    await tools.engine.abandon(session, [export.job_id for export in written])
    await exports.remove(session, [export.id for export in written])
    return [(Area.EXPORTS, export.id) for export in written]


async def _remove_derived(tools: Tools, session: Session, dataset_ids: Sequence[UUID]) -> _Folders:
    """Delete what was derived from datasets that are held; returns the folders."""
    made = await derived.of_datasets(session, dataset_ids)
    jobs = [each.job_id for each in made]
    await tools.engine.lock(session, jobs)
    await tools.engine.abandon(session, jobs)
    await derived.remove(session, [each.id for each in made])
    return [(Area.DERIVED, each.id) for each in made]


async def _clean_up(tools: Tools, session: Session, kind: JobKind, folders: _Folders) -> Job:
    """The job that removes the folders; it bears the name of the first one's resource."""
    new = NewJob(kind=kind, resource_id=folders[0][1], payload=cleanup_payload(folders))
    return (await tools.engine.submit(session, new)).job


def _in_use(noun: str, resource_id: UUID, user: str, needing: Sequence[UUID]) -> ResourceInUse:
    return ResourceInUse(
        f"{noun.capitalize()} {resource_id} is needed by {user} {first_of(needing, _NAMED_USERS)}",
        next_step=f"Delete these first, or delete the {noun} with force",
        metadata={"subject": f"{noun}/{resource_id}", f"{user}s": ",".join(map(str, needing[:_NAMED_USERS]))},
    )

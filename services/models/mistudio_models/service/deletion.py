"""Letting models go: rows at once and all or none, files by one job soon after.

Everybody locks jobs before the resources they work for, each kind at once and in the order of their ids, so no two
deletions wait for one another in a ring.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import BatchDeletion
from mistudio_jobs.tables import Job
from mistudio_models.domain.models import Model, ModelStatus
from mistudio_models.service import unloading
from mistudio_models.service.cleanup import cleanup_payload
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.batches import Refusal, parse_ids
from mistudio_servicekit.errors import MistudioError, ModelNotFound, ResourceInUse, Unavailable
from mistudio_servicekit.naming import first_of
from mistudio_servicekit.requests import check_etag, etag_of

_NAMED_USERS = 5


async def delete_model(tools: Tools, model_id: UUID, *, etag: str = "", force: bool = False) -> Job:
    """Remove a model at once, stop its download, and start the job that removes its files.

    Args:
        tools: what use cases work with.
        model_id: the model.
        etag: the one that it must have; empty takes any.
        force: whether it is unloaded, and tokenizations that are being made with it are stopped first; complete ones
            do not need it.

    Returns:
        the job that removes the files.

    Raises:
        ModelNotFound: no model has this id.
        Aborted: it has another etag.
        ResourceInUse: it is loaded, or tokenizations are being made with it, and `force` is not given.
        Unavailable: the datasets service, which knows the tokenizations, cannot be reached.
    """
    problems = await _release(tools, await _known(tools, [model_id], etag), force=force)
    job = None if problems else await _delete(tools, [model_id], problems, etag)
    if job is None:
        raise problems[model_id]
    return job


async def delete_models(tools: Tools, ids: Sequence[str], *, force: bool = False) -> BatchDeletion:
    """Delete each model that can be, as `delete_model` does; an id that is given twice counts once.

    Raises:
        MissingField, InvalidArgument: there are no ids, or too many; see `parse_ids`.
    """
    parsed = parse_ids(ids, "models")
    wanted = [each for each in parsed.values() if isinstance(each, UUID)]
    problems = await _release(tools, await _known(tools, wanted), force=force)
    job = await _delete(tools, [each for each in wanted if each not in problems], problems)
    batch = BatchDeletion([each for each in wanted if each not in problems], job=job)
    for given, each in parsed.items():
        problem = problems.get(each) if isinstance(each, UUID) else each
        if problem is not None:
            batch.refusals.append(Refusal(given, problem))
    return batch


async def _known(tools: Tools, model_ids: Sequence[UUID], etag: str = "") -> Sequence[Model]:
    """Those of the models that are there; raises `Aborted` unless they have the etag."""
    async with tools.database.transaction() as session:
        found = await models.of_ids(session, model_ids)
    for model in found:
        check_etag(etag, etag_of(model.version), f"Model {model.id}")
    return found


async def _delete(
    tools: Tools, model_ids: Sequence[UUID], problems: dict[UUID, MistudioError], etag: str = ""
) -> Job | None:
    """Delete those of the models that are still there, the others become problems; the job that removes the files."""
    async with tools.engine.transaction() as session:
        # What has begun meanwhile, such as a load, ends with its model.
        active = {job.id: job.resource_id for job in await tools.engine.active_jobs(session, model_ids)}
        await tools.engine.lock(session, [*active, *await models.job_ids(session, model_ids)])
        held = {model.id: model for model in await models.lock_all(session, model_ids)}
        problems |= {each: ModelNotFound.of(str(each)) for each in model_ids if each not in held}
        for model in held.values():
            check_etag(etag, etag_of(model.version), f"Model {model.id}")
        if not held:
            return None
        loads = [job_id for job_id, model_id in active.items() if model_id in held]
        await tools.engine.abandon(session, [*loads, *(model.job_id for model in held.values())])
        await models.remove(session, held)
        await tools.engine.tell_deleted(session, list(held))
        new = NewJob(tools.kinds.cleanup, next(iter(held)), cleanup_payload(held))
        return (await tools.engine.submit(session, new)).job


async def _release(tools: Tools, known: Sequence[Model], *, force: bool) -> dict[UUID, MistudioError]:
    """Stop what needs these models, if `force` is given; the models that are still needed, each with why."""
    # No other has ever been tokenized with. A tokenization that begins from here on finds the model gone, and says so.
    ready = [model.id for model in known if model.status is ModelStatus.READY]
    if not ready:
        return {}
    try:
        running = await tools.tokenizations.running_with(ready)
    except Unavailable as error:
        return dict.fromkeys(ready, error)
    problems = await unloading.release(tools, ready, force=force)
    needed = {model_id: needing for model_id, needing in running.items() if model_id not in problems}
    if force:
        return problems | await _stop(tools, needed)
    return problems | {model_id: _in_use(model_id, needing) for model_id, needing in needed.items()}


async def _stop(tools: Tools, running: Mapping[UUID, Sequence[UUID]]) -> dict[UUID, MistudioError]:
    """Stop these tokenizations by model; the models for which that failed, each with why."""
    problems: dict[UUID, MistudioError] = {}
    for model_id, needing in running.items():
        try:
            for tokenization_id in needing:
                await tools.tokenizations.cancel(tokenization_id)
        except MistudioError as error:
            problems[model_id] = error
    return problems


def _in_use(model_id: UUID, needing: Sequence[UUID]) -> ResourceInUse:
    return ResourceInUse(
        f"Model {model_id} is needed by tokenization {first_of(needing, _NAMED_USERS)}, not yet complete",
        next_step="Wait until these are complete, or delete the model with force, which stops them",
        metadata={"subject": f"model/{model_id}", "tokenizations": ",".join(map(str, needing[:_NAMED_USERS]))},
    )

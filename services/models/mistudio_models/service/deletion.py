"""Letting models go: rows at once and all or none, files by one job soon after.

Everybody locks jobs before the resources they work for, each kind at once and in the order of their ids, so no two
deletions wait for one another in a ring.

A load is asked for under its model's lock. So a deletion looks again, once it has the lock, for loads that were asked
for since it made workers let the model go, and for what they have left: what is deleted is in no worker's memory.
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
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import MistudioError, ModelNotFound, ResourceInUse, Unavailable
from mistudio_servicekit.naming import first_of
from mistudio_servicekit.requests import check_etag, etag_of

_NAMED_USERS = 5
_ROUNDS = 5
"""How often workers are made to let a model go that others go on asking for."""


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
    job, problems = await _let_go(tools, [model_id], etag, force=force)
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
    job, problems = await _let_go(tools, wanted, force=force)
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


async def _let_go(
    tools: Tools, model_ids: Sequence[UUID], etag: str = "", *, force: bool
) -> tuple[Job | None, Mapping[UUID, MistudioError]]:
    """Delete those of the models that can be: the job that removes their files, and why the others cannot."""
    problems: dict[UUID, MistudioError] = {}
    for rounds_left in reversed(range(_ROUNDS if force else 1)):
        problems |= await _release(tools, await _known(tools, _others(model_ids, problems), etag), force=force)
        async with tools.engine.transaction() as session:
            held = await _hold(tools, session, _others(model_ids, problems), etag)
            taken = await unloading.in_memory(tools, session, held)
            if taken and rounds_left:
                continue  # they were asked for meanwhile
            problems |= {each: ModelNotFound.of(str(each)) for each in _others(model_ids, problems) if each not in held}
            problems |= taken
            going = [model for model in held.values() if model.id not in taken]
            return (await _delete(tools, session, going) if going else None), problems
    raise AssertionError("the last round has returned")


def _others(model_ids: Sequence[UUID], problems: Mapping[UUID, MistudioError]) -> Sequence[UUID]:
    return [each for each in model_ids if each not in problems]


async def _hold(tools: Tools, session: Session, model_ids: Sequence[UUID], etag: str) -> Mapping[UUID, Model]:
    """Those of the models that are still there; nobody changes or loads them from here on."""
    await tools.engine.lock(session, await models.job_ids(session, model_ids))
    held = await models.lock_all(session, model_ids)
    for model in held:
        check_etag(etag, etag_of(model.version), f"Model {model.id}")
    return {model.id: model for model in held}


async def _delete(tools: Tools, session: Session, going: Sequence[Model]) -> Job:
    """Delete models that are held; the job that removes their files."""
    ids = [model.id for model in going]
    await tools.engine.abandon(session, [model.job_id for model in going])
    await models.remove(session, ids)
    await tools.engine.tell_deleted(session, ids)
    new = NewJob(tools.kinds.cleanup, ids[0], cleanup_payload(ids))
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

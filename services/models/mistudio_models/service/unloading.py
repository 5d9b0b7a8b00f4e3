"""Taking models out of the memory of workers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from mistudio_jobs.tables import Job
from mistudio_models.domain.loading import LoadedModel
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.service.hosts import Placed, live_hosts, placed
from mistudio_models.service.loading import active_loads
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import MistudioError, ModelNotLoaded, Reason, ResourceInUse, Unavailable
from mistudio_servicekit.requests import MAX_NAME, check_length

_COMMAND_SECONDS = 20.0
_STOPPING_SECONDS = 20.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class UnloadRequest:
    """What somebody wants to have unloaded.

    Attributes:
        model_id: the model.
        worker: only from this one; empty means every one.
        settings: only where it is held in this way; None means every way. What they leave out may be anything.
    """

    model_id: UUID
    worker: str = ""
    settings: LoadSettings | None = None

    def names(self, each: Placed) -> bool:
        """Whether the loaded model is meant."""
        return (not self.worker or each.worker == self.worker) and self._held_so(each.model.settings)

    def _held_so(self, held: LoadSettings) -> bool:
        wanted = self.settings
        if wanted is None:
            return True
        if wanted.format and (wanted.format, wanted.double_quantization) != (held.format, held.double_quantization):
            return False
        return not wanted.compute_dtype or wanted.compute_dtype == held.compute_dtype


async def unload(tools: Tools, request: UnloadRequest) -> Sequence[Placed]:
    """Unload a model; what was unloaded, as it was held.

    Where several workers hold it, none unloads it while a job works with it on one of them.

    Raises:
        ModelNotFound: no model has this id.
        ModelNotLoaded: no worker holds it, or none that the request means.
        ResourceInUse: a job works with it.
        Unavailable: a worker does not answer.
    """
    check_length("worker", request.worker, MAX_NAME)
    async with tools.database.transaction() as session:
        found = placed(await live_hosts(tools, session), [request.model_id])
        if not found:  # one that is deleted may still be held, and then be unloaded
            await models.get(session, request.model_id)
    meant = [each for each in found if request.names(each)]
    if not meant:
        raise _not_loaded(request, found)
    unloaded = await _unload_all(tools, meant)
    if not unloaded:  # somebody else was quicker
        raise _not_loaded(request, [])
    return unloaded


async def release(tools: Tools, model_ids: Collection[UUID], *, force: bool) -> dict[UUID, MistudioError]:
    """Have workers let these models go, if `force` is given; the models that they still hold or load, each with why.

    Loads that are under way are stopped.
    """
    problems: dict[UUID, MistudioError] = {}
    async with tools.database.transaction() as session:
        users = await _users(tools, session, model_ids)
    for model_id, loading, held in users:
        try:
            if not force:
                raise _in_memory(model_id, loading, held)
            await _stop(tools, model_id, loading)
            await _unload_all(tools, await _held(tools, model_id))
        except MistudioError as error:
            problems[model_id] = error
    return problems


async def in_memory(tools: Tools, session: Session, model_ids: Collection[UUID]) -> dict[UUID, MistudioError]:
    """Those of the models that workers hold or load, or are to load, each with the error that says so."""
    users = await _users(tools, session, model_ids) if model_ids else ()
    return {model_id: _in_memory(model_id, loading, held) for model_id, loading, held in users}


async def free(tools: Tools, each: Placed) -> Placed | None:
    """Have a worker let a model go; as it was held, or None where it was gone already.

    Raises:
        ResourceInUse: a job works with it.
        Unavailable: the worker does not answer.
    """
    wanted = {"model_id": str(each.model.model_id), "settings": each.model.settings.to_json()}
    try:
        answer = await tools.engine.command(each.worker, {"unload": wanted}, seconds=_COMMAND_SECONDS)
    except MistudioError as error:
        if error.reason is Reason.MODEL_NOT_LOADED:
            return None
        raise
    return Placed(each.host, LoadedModel.from_json(answer["unloaded"]))


async def _users(
    tools: Tools, session: Session, model_ids: Collection[UUID]
) -> Sequence[tuple[UUID, Sequence[Job], Sequence[Placed]]]:
    """Those of the models that are loaded or being loaded, with the jobs that load them and where they are."""
    # In this order: a worker tells what it has loaded before its job ends.
    loading = await active_loads(tools, session, model_ids)
    held = placed(await live_hosts(tools, session), model_ids)
    used = {job.resource_id for job in loading} | {each.model.model_id for each in held}
    return [
        (
            model_id,
            [job for job in loading if job.resource_id == model_id],
            [each for each in held if each.model.model_id == model_id],
        )
        for model_id in model_ids
        if model_id in used
    ]


async def _held(tools: Tools, model_id: UUID) -> Sequence[Placed]:
    async with tools.database.transaction() as session:
        return placed(await live_hosts(tools, session), [model_id])


async def _stop(tools: Tools, model_id: UUID, loading: Sequence[Job]) -> None:
    """Cancel these loads and wait until they have ended: what they have loaded by then can be seen."""
    job_ids = [job.id for job in loading]
    async with tools.engine.transaction() as session:
        await tools.engine.cancel_unended(session, job_ids)
    try:
        async with asyncio.timeout(_STOPPING_SECONDS):
            # Others that are asked for meanwhile are not waited for: nobody has cancelled these.
            while not await _have_ended(tools, job_ids):  # noqa: ASYNC110  # the end is a row that a worker writes
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise Unavailable(
            f"The load of model {model_id} that was cancelled has not ended within {_STOPPING_SECONDS:g} seconds",
            next_step="Try again in a few seconds",
        ) from None


async def _have_ended(tools: Tools, job_ids: Sequence[UUID]) -> bool:
    async with tools.database.transaction() as session:
        return all(job.job_state.terminal for job in await tools.engine.get_all(session, job_ids))


async def _unload_all(tools: Tools, meant: Sequence[Placed]) -> Sequence[Placed]:
    busy = [each for each in meant if each.model.in_use]
    if busy:
        raise _in_use(busy)
    outcomes = await asyncio.gather(*(free(tools, each) for each in meant), return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    unloaded = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
    if errors:
        raise _told(errors[0], unloaded)
    return unloaded


def _told(error: BaseException, unloaded: Sequence[Placed]) -> BaseException:
    """`error`, with what was unloaded all the same."""
    if not unloaded or not isinstance(error, MistudioError):
        return error
    named = ", ".join(map(str, unloaded))
    record = error.to_record()
    return MistudioError.from_record({**record, "problem": f"{record['problem']} (unloaded all the same: {named})"})


def _not_loaded(request: UnloadRequest, found: Sequence[Placed]) -> ModelNotLoaded:
    where = f" on worker {request.worker!r}" if request.worker else ""
    how = f" in {request.settings}" if request.settings is not None else ""
    there = ", ".join(map(str, found))
    return ModelNotLoaded(
        f"Model {request.model_id} is not loaded{how}{where}",
        next_step=f"Unload it where it is: in {there}" if there else "List the loaded models to see which are",
        field="worker" if request.worker and there else "",
        metadata={"subject": f"model/{request.model_id}"},
    )


def _in_use(busy: Sequence[Placed]) -> ResourceInUse:
    named = ", ".join(map(str, busy))
    return ResourceInUse(
        f"A job works with model {busy[0].model.model_id}, held in {named}",
        next_step="Wait until the job has ended, or cancel it",
        metadata={"subject": f"model/{busy[0].model.model_id}"},
    )


def _in_memory(model_id: UUID, loading: Sequence[Job], held: Sequence[Placed]) -> ResourceInUse:
    loaded = f"is loaded in {', '.join(map(str, held))}" if held else ""
    under_way = f"is being loaded by job {', '.join(str(job.id) for job in loading)}" if loading else ""
    return ResourceInUse(
        f"Model {model_id} {' and '.join(filter(None, [loaded, under_way]))}",
        next_step="Unload it, or delete it with force, which unloads it first",
        metadata={"subject": f"model/{model_id}", "workers": ",".join(sorted({each.worker for each in held}))},
    )

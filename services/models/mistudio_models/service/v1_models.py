"""What only clients of v1 ask of a model: which one an old id names, and how far its download is in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from mistudio_jobs.tables import Job
from mistudio_models.domain.models import Model, ModelStatus
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.errors import MalformedId, MissingField
from mistudio_servicekit.requests import check_length

PREFIX = "m_"
_EXAMPLE = f"{PREFIX}0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e"
_LONGEST_ID = 2_600


def v1_id(model_id: UUID) -> str:
    """The id that the model has in v1."""
    return f"{PREFIX}{model_id}"


async def resolve(tools: Tools, given: str) -> UUID:
    """The UUID of the model that `given` names: `m_<uuid>`, or the id that an older release had made up for it.

    Raises:
        MissingField: it is empty.
        MalformedId: it is neither. Whether there is a model with the UUID is not looked up.
    """
    if not given:
        raise MissingField.of("id", _EXAMPLE)
    known = _uuid_in(given)
    if known is None:
        async with tools.database.transaction() as session:
            found = await models.find_by_v1_id(session, check_length("id", given, _LONGEST_ID))
        known = None if found is None else found.id
    if known is None:
        raise MalformedId(
            f"id is {given[:80]!r}, which is neither {PREFIX}<uuid> nor the id of a model of an older release",
            next_step=f"Give an id as the service returned it, like {_EXAMPLE}",
            field="id",
            metadata={"value": given[:80]},
        )
    return known


def _uuid_in(given: str) -> UUID | None:
    try:
        found = UUID(given.removeprefix(PREFIX))
    except ValueError:
        return None
    return found if v1_id(found) == given else None


async def percents(tools: Tools, found: Sequence[Model]) -> Mapping[UUID, float]:
    """Percent of its bytes that are here, by model."""
    on_their_way = [model.job_id for model in found if model.status is not ModelStatus.READY]
    async with tools.database.transaction() as session:
        jobs = {job.id: job for job in await tools.engine.get_all(session, on_their_way)}
    return {model.id: _percent(model, jobs.get(model.job_id)) for model in found}


def _percent(model: Model, job: Job | None) -> float:
    if model.status is ModelStatus.READY:
        return 100.0
    # A cancelled one has no files, and of one that waits for a worker none have come yet.
    if model.status is ModelStatus.CANCELLED or job is None or job.progress is None:
        return 0.0
    return 100.0 * float(job.progress["fraction"])

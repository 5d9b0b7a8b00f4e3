"""The workers that can hold models, and what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from mistudio_models.domain.loading import Host, HostState, LoadedModel
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.database import Session

GPU_POOL = "gpu"
CPU_POOL = "cpu"


@dataclass(frozen=True)
class Placed:
    """A loaded model and where it is.

    Attributes:
        host: the worker that holds it.
        model: the model as it is held.
    """

    host: Host
    model: LoadedModel

    @property
    def worker(self) -> str:
        """Name of the worker that holds it."""
        return self.host.worker

    def __str__(self) -> str:
        return f"{self.model.held_in} on {self.model.device} of worker {self.worker}"


async def live_hosts(tools: Tools, session: Session, pool: str = "") -> Sequence[Host]:
    """The workers that are there, of one pool or of every, and have told what they can hold."""
    workers = await tools.engine.workers(session, pool)
    hosts = (Host(each.name, each.pool, each.host, HostState.from_json(each.state)) for each in workers)
    return [host for host in hosts if host.state.devices]


def placed(hosts: Iterable[Host], model_ids: Iterable[UUID] | None = None) -> Sequence[Placed]:
    """What the hosts hold, of these models or of all, last used first."""
    wanted = None if model_ids is None else set(model_ids)
    found = [
        Placed(host, model)
        for host in hosts
        for model in host.state.models
        if wanted is None or model.model_id in wanted
    ]
    return sorted(found, key=lambda each: each.model.used_at, reverse=True)


async def list_loaded(tools: Tools, model_id: UUID | None = None) -> tuple[Sequence[Placed], Sequence[Host]]:
    """The loaded models, of one model or of all, and the workers that can hold models; deleted models do not show.

    Raises:
        ModelNotFound: no model has this id.
    """
    async with tools.database.transaction() as session:
        if model_id is not None:
            await models.get(session, model_id)
        hosts = await live_hosts(tools, session)
        found = placed(hosts, None if model_id is None else [model_id])
        alive = {model.id for model in await models.of_ids(session, {each.model.model_id for each in found})}
    return [each for each in found if each.model.model_id in alive], hosts

"""The workers that can hold models, and what they hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from mistudio_models.domain.loading import Eviction, Host, HostState, LoadedModel
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


@dataclass(frozen=True)
class Evicted:
    """A loaded model that made room for another one, and the worker that held it."""

    worker: str
    eviction: Eviction


@dataclass(frozen=True)
class Listing:
    """Which models are loaded where.

    Attributes:
        models: the loaded models, last used first.
        hosts: the workers that can hold models.
        evictions: the models that lately made room for others, newest first.
    """

    models: Sequence[Placed]
    hosts: Sequence[Host]
    evictions: Sequence[Evicted]


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


def evicted(hosts: Iterable[Host], model_id: UUID | None = None) -> Sequence[Evicted]:
    """The models that lately made room for others on these hosts, newest first; of one model or for it, or all."""
    found = [
        Evicted(host.worker, eviction)
        for host in hosts
        for eviction in host.state.evictions
        if model_id in (None, eviction.model_id, eviction.for_model_id)
    ]
    return sorted(found, key=lambda each: each.eviction.evicted_at, reverse=True)


async def list_loaded(tools: Tools, model_id: UUID | None = None) -> Listing:
    """The loaded models, of one model or of all, and the workers that can hold models; deleted models do not show.

    Raises:
        ModelNotFound: no model has this id.
    """
    async with tools.database.transaction() as session:
        if model_id is not None:
            await models.get(session, model_id)
        hosts = await live_hosts(tools, session)
        found, gone = placed(hosts, None if model_id is None else [model_id]), evicted(hosts, model_id)
        named = {each.model.model_id for each in found} | {each.eviction.model_id for each in gone}
        alive = {model.id for model in await models.of_ids(session, named)}
    return Listing(
        models=[each for each in found if each.model.model_id in alive],
        hosts=hosts,
        evictions=[each for each in gone if each.eviction.model_id in alive],
    )

"""Loading models into the memory of workers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from mistudio_jobs.queue import NewJob
from mistudio_jobs.tables import Job
from mistudio_models.domain.loading import Host
from mistudio_models.domain.models import Model
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.service.hosts import CPU_POOL, GPU_POOL, Placed, live_hosts, placed
from mistudio_models.service.load_settings import settle
from mistudio_models.service.permissions import require_loadable
from mistudio_models.service.readiness import require_ready
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.database import Session
from mistudio_servicekit.records import Lock
from mistudio_servicekit.requests import check_request_id


class DevicePreference(StrEnum):
    """Where a model may be loaded; mirrors `mistudio.models.v2.DevicePreference`."""

    ANY = ""
    GPU = "GPU"
    CPU = "CPU"


@dataclass(frozen=True)
class LoadRequest:
    """A model that somebody wants in memory; see `mistudio.models.v2.LoadModelRequest` for each field."""

    model_id: UUID
    settings: LoadSettings = field(default_factory=LoadSettings)
    device: DevicePreference = DevicePreference.ANY
    pin: bool = False
    trust_remote_code: bool = False
    request_id: str = ""

    @property
    def content(self) -> dict[str, Any]:
        """What the same `request_id` must always say."""
        return {
            "id": str(self.model_id),
            "settings": self.settings.to_json(),
            "device": self.device,
            "pin": self.pin,
            "trust_remote_code": self.trust_remote_code,
        }


@dataclass(frozen=True)
class Load:
    """A load that was asked for.

    Attributes:
        job: that loads the model, or has loaded it.
        joined: whether it was there before the request.
        loaded: the model in memory, where it was there already.
    """

    job: Job
    joined: bool
    loaded: Placed | None = None


@dataclass(frozen=True)
class _Wanted:
    """A load with everything decided."""

    model: Model
    settings: LoadSettings
    pool: str
    pin: bool
    trust_remote_code: bool

    @property
    def payload(self) -> dict[str, Any]:
        """What the job gets; see `mistudio_models.jobs.load`."""
        return {
            "repo_id": self.model.repo_id,
            "epoch": self.model.epoch,
            "load_settings": self.settings.to_json(),
            "pin": self.pin,
            "trust_remote_code": self.trust_remote_code,
        }

    def is_served_by(self, job: Job) -> bool:
        """Whether the job, which has not ended, does all of this."""
        same = {**job.payload, "pin": self.pin} == self.payload and job.pool == self.pool
        return same and job.cancel_requested_at is None and (job.payload["pin"] or not self.pin)

    def is_there(self, each: Placed) -> bool:
        """Whether the loaded model is all of this."""
        held = each.model
        same = (held.model_id, held.epoch, held.settings) == (self.model.id, self.model.epoch, self.settings)
        return same and each.host.pool == self.pool and (held.pinned or not self.pin)


async def load(tools: Tools, request: LoadRequest) -> Load:
    """Start to load a model; the same load that is done or under way is joined.

    Raises:
        InvalidArgument: settings that do not go together, or an impossible request_id.
        RequestIdReused: its request_id was used for other content.
        ModelNotFound, ModelNotReady: there is no such model, or its files are not complete.
        WeightsMissing, PickleRefused, RemoteCodeRefused: it may not or cannot be loaded.
    """
    check_request_id(request.request_id)
    kind, content = tools.kinds.load, request.content
    async with tools.engine.transaction() as session:
        repeated = await tools.engine.find_request(session, kind, request.request_id, content)
        if repeated:
            return Load(repeated, joined=True, loaded=await _loaded_by(tools, session, repeated))
        # Equal loads meet at the model's row: whoever comes second finds the job of the first.
        model = require_ready(await models.get(session, request.model_id, lock=Lock.EXCLUSIVE))
        wanted = _decided(tools, request, model, await live_hosts(tools, session))
        known = await _known(tools, session, wanted)
        if known:
            await tools.engine.remember_request(session, kind, request.request_id, content, known.job)
            return known
        new = NewJob(
            kind,
            model.id,
            wanted.payload,
            request_id=request.request_id,
            request_content=content,
            pool=wanted.pool,
        )
        submission = await tools.engine.submit(session, new)
        return Load(submission.job, submission.joined)


def _decided(tools: Tools, request: LoadRequest, model: Model, hosts: Sequence[Host]) -> _Wanted:
    require_loadable(model, tools.policy, trust_remote_code=request.trust_remote_code)
    return _Wanted(
        model=model,
        settings=settle("settings", request.settings, model.default_settings, model.facts),
        pool=_pool(request.device, hosts),
        pin=request.pin,
        trust_remote_code=request.trust_remote_code and model.facts.needs_remote_code,
    )


def _pool(preference: DevicePreference, hosts: Sequence[Host]) -> str:
    if preference is DevicePreference.ANY:
        return GPU_POOL if any(host.pool == GPU_POOL for host in hosts) else CPU_POOL
    return GPU_POOL if preference is DevicePreference.GPU else CPU_POOL


async def _known(tools: Tools, session: Session, wanted: _Wanted) -> Load | None:
    """The same load, under way or done."""
    for job in await active_loads(tools, session, [wanted.model.id]):
        if wanted.is_served_by(job):
            return Load(job, joined=True)
    # In this order: a worker tells what it has loaded before its job ends.
    for each in placed(await live_hosts(tools, session, wanted.pool), [wanted.model.id]):
        if wanted.is_there(each):
            return Load(await tools.engine.get(session, each.model.job_id), joined=True, loaded=each)
    return None


async def active_loads(tools: Tools, session: Session, model_ids: Iterable[UUID]) -> Sequence[Job]:
    """The jobs that are loading these models, or wait to."""
    active = await tools.engine.active_jobs(session, model_ids)
    return [job for job in active if job.kind == tools.kinds.load.name]


async def _loaded_by(tools: Tools, session: Session, job: Job) -> Placed | None:
    """What the job has loaded, where that is still there."""
    found = placed(await live_hosts(tools, session, job.pool), [job.resource_id])
    return next((each for each in found if each.model.job_id == job.id), None)

"""Workers as their rows tell of them, where a test wants devices or loaded models that this machine does not have.

They hear commands like others, but their job process is never ready: so they answer that they are unavailable.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from nats.aio.msg import Msg

from mistudio_jobs import streams
from mistudio_jobs.commands import Commands
from mistudio_models.config import SERVICE
from mistudio_models.domain.loading import Device, HostState, LoadedModel, Measurement
from mistudio_models.domain.weights import ComputeDtype, LoadSettings, WeightFormat
from mistudio_servicekit.database import new_id

from .made_models import MadeModels

GB = 10**9
BF16 = LoadSettings(WeightFormat.BF16, compute_dtype=ComputeDtype.BF16)
NF4 = LoadSettings(WeightFormat.NF4, compute_dtype=ComputeDtype.BF16)

# Told in the future, so that it stays there however long the test takes.
_PUT = """
    INSERT INTO workers (name, pool, host, state, started_at, seen_at)
    VALUES (%(name)s, %(pool)s, 'rack', %(state)s::jsonb, now(), now() + interval '1 hour')
    ON CONFLICT (name) DO UPDATE SET state = excluded.state
"""


def device(name: str = "cpu", *, total: int = 64 * GB, free: int = 64 * GB) -> Device:
    """A device with memory."""
    return Device(name, f"Some {name}", total, free)


def loaded(
    model_id: str,
    settings: LoadSettings = BF16,
    *,
    on: str = "cpu",
    size: int = GB,
    pinned: bool = False,
    in_use: bool = False,
    job_id: str = "",
    epoch: int = 1,
) -> LoadedModel:
    """A model in memory."""
    now = datetime.now(UTC)
    return LoadedModel(
        model_id=UUID(model_id),
        epoch=epoch,
        repo_id="made/1",
        device=on,
        settings=settings,
        memory=Measurement(size - 1, size, size + 1, size + 2),
        unquantized=(),
        pinned=pinned,
        in_use=in_use,
        load_seconds=2.5,
        forward_seconds=0.5,
        loaded_at=now,
        used_at=now,
        job_id=UUID(job_id) if job_id else new_id(),
    )


@dataclass(frozen=True)
class ToldWorkers:
    """Puts rows of workers into a service's database."""

    made: MadeModels
    budget_bytes: int = field(default=1000 * GB)
    names: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def heard(self, nats_url: str) -> AsyncIterator[None]:
        """They hear what they are told inside the block."""
        nats = await streams.connect(nats_url, "workers that are only told of")
        await nats.subscribe(f"ctl.{SERVICE}.worker.*", cb=self._on_message)
        await nats.flush()
        yield
        await nats.close()

    def put(
        self, name: str, *models: LoadedModel, pool: str = "cpu", devices: Sequence[Device] = (), budget: int = 0
    ) -> None:
        """A worker that is there, or tells something new."""
        self.names.add(name)
        state = HostState(tuple(devices) or (device(),), budget or self.budget_bytes, models)
        self.made.execute(_PUT, {"name": name, "pool": pool, "state": json.dumps(state.to_json())})

    async def _on_message(self, message: Msg) -> None:
        name = message.subject.rpartition(".")[2]
        if name in self.names:
            await Commands(name, lambda: None, has_keeper=True, settle=_nothing_to_tell).on_message(message)


async def _nothing_to_tell() -> None:
    """What such a worker keeps is told by `put` alone."""

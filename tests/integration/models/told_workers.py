"""Workers as their rows tell of them, where a test wants devices or loaded models that this machine does not have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

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

    def put(
        self, name: str, *models: LoadedModel, pool: str = "cpu", devices: Sequence[Device] = (), budget: int = 0
    ) -> None:
        """A worker that is there, or tells something new."""
        state = HostState(tuple(devices) or (device(),), budget or self.budget_bytes, models)
        self.made.execute(_PUT, {"name": name, "pool": pool, "state": json.dumps(state.to_json())})

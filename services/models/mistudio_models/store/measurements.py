"""What loading models took before: one function a question or change, each inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

from sqlalchemy import select

from mistudio_models.domain.loading import Measurement
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.store.tables import MeasurementRow
from mistudio_servicekit.database import Session


@dataclass(frozen=True)
class PastLoad:
    """A load that succeeded.

    Attributes:
        worker: that loaded the model.
        device: that it was loaded on, for example `cuda:0`.
        memory: what it took.
    """

    worker: str
    device: str
    memory: Measurement


async def add(session: Session, model_id: UUID, settings: LoadSettings, load: PastLoad) -> None:
    """Note what a load of the model with `settings`, every default filled in, took."""
    session.add(
        MeasurementRow(
            model_id=model_id,
            settings=settings.to_json(),
            worker=load.worker,
            device=load.device,
            **asdict(load.memory),
        )
    )
    await session.flush()


async def latest(session: Session, model_id: UUID, settings: LoadSettings, limit: int) -> Sequence[PastLoad]:
    """The last loads of the model with exactly these settings, newest first."""
    rows = await session.scalars(
        select(MeasurementRow)
        .where(MeasurementRow.model_id == model_id, MeasurementRow.settings == settings.to_json())
        .order_by(MeasurementRow.id.desc())
        .limit(limit)
    )
    return [_past_load(row) for row in rows]


def _past_load(row: MeasurementRow) -> PastLoad:
    memory = Measurement(
        predicted_weights_bytes=row.predicted_weights_bytes,
        measured_weights_bytes=row.measured_weights_bytes,
        predicted_load_peak_bytes=row.predicted_load_peak_bytes,
        measured_load_peak_bytes=row.measured_load_peak_bytes,
    )
    return PastLoad(row.worker, row.device, memory)

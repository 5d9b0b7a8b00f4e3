"""Writes a view of a tokenization as a dataset of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from mistudio_datasets.data.views.exporting import Exporter, ExportInput
from mistudio_datasets.domain.exports import ExportSettings
from mistudio_datasets.domain.progress import Monitor
from mistudio_datasets.domain.views import View
from mistudio_datasets.jobs.bringing import monitor_of
from mistudio_jobs.handler import JobContext
from mistudio_servicekit.errors import TokenizationNotFound
from mistudio_servicekit.reservations import Room
from mistudio_servicekit.storage import Area


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Write the sequences of `view` in the order of `shuffle_seed`, of one tokenization."""
    tokenization_id = payload["tokenization_id"]
    folder = context.store.epoch(Area.TOKENIZATIONS, UUID(tokenization_id), payload["tokenization_epoch"])
    if not folder.is_dir():
        # It may have been deleted since the job was submitted.
        raise TokenizationNotFound.of(tokenization_id)
    settings = ExportSettings(View.from_json(payload["view"]), payload["shuffle_seed"])
    exporter = Exporter(ExportInput(tokenization_id, folder, payload["dataset"], settings))
    context.check()
    with context.store.reserve(exporter.bytes_needed, "The export") as room:
        return asdict(exporter.write(context.folder, _monitor(context, room, exporter.bytes_needed)))


def _monitor(context: JobContext, room: Room, bytes_needed: int) -> Monitor:
    """The wires of the data library, which tell the room as well how much of it is still needed."""
    plain = monitor_of(context)

    def report(done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
        room.shrink_to(bytes_needed * (total - done) // max(1, total))
        plain.report(done, total, unit, stage, metrics)

    return Monitor(report=report, check=plain.check)

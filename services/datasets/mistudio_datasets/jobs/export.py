"""Writes a view of a tokenization as a dataset of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from uuid import UUID

from mistudio_datasets.data.views.exporting import Exporter, ExportInput
from mistudio_datasets.domain.exports import ExportSettings
from mistudio_datasets.domain.views import View
from mistudio_datasets.jobs.bringing import monitor_of
from mistudio_jobs.handler import JobContext
from mistudio_servicekit.errors import TokenizationNotFound
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
    context.store.require_free(exporter.bytes_needed, "The export")
    return asdict(exporter.write(context.folder, monitor_of(context)))

"""Exports as messages."""

from __future__ import annotations

from mistudio.datasets.v1 import export_pb2
from mistudio_datasets.api.view_messages import view_message
from mistudio_datasets.domain.exports import Export
from mistudio_datasets.domain.status import WorkStatus
from mistudio_jobs.events import error_message, timestamp
from mistudio_servicekit.requests import etag_of
from mistudio_servicekit.storage import Area


def export_message(export: Export) -> export_pb2.Export:
    """The export as clients see it."""
    return export_pb2.Export(
        id=str(export.id),
        tokenization_id=str(export.tokenization_id),
        view=view_message(export.settings.view),
        shuffle_seed=export.settings.shuffle_seed,
        status=export_pb2.ExportStatus.Value(f"EXPORT_STATUS_{export.status}"),
        error=None if export.error is None else error_message(export.error),
        sequences=export.sequences,
        short_sequences=export.short_sequences,
        tokens=export.tokens,
        size_bytes=export.size_bytes,
        store_path=_store_path(export),
        job_id=str(export.job_id),
        create_time=timestamp(export.create_time),
        update_time=timestamp(export.update_time),
        etag=etag_of(export.version),
    )


def _store_path(export: Export) -> str:
    return f"{Area.EXPORTS}/{export.id}/{export.epoch}" if export.status is WorkStatus.READY else ""

"""Exports as rows of tables and as lists of facts."""

from __future__ import annotations

from collections.abc import Sequence

from mistudio.datasets.v1 import export_pb2
from mistudio_client.cli.rendering.formats import byte_size, moment, number
from mistudio_client.cli.rendering.sequences import view_words

EXPORT_COLUMNS = ("id", "tokenization", "view", "status", "sequences", "tokens", "size", "created")
EXPORT_NUMERIC = "sequences tokens size"


def export_row(export: export_pb2.Export) -> Sequence[str]:
    """An export's cells for `EXPORT_COLUMNS`."""
    made = export.status == export_pb2.EXPORT_STATUS_READY
    figures = (number(export.sequences), number(export.tokens), byte_size(export.size_bytes)) if made else ("",) * 3
    what = (export.tokenization_id, view_words(export.view), export_status(export))
    return (export.id, *what, *figures, moment(export.create_time))


def export_facts(export: export_pb2.Export) -> list[tuple[str, str]]:
    """Everything about an export; figures once it is there."""
    return [
        ("id", export.id),
        ("tokenization", export.tokenization_id),
        ("view", view_words(export.view)),
        ("order", f"shuffled with seed {export.shuffle_seed}" if export.HasField("shuffle_seed") else ""),
        ("status", export_status(export)),
        ("error", export.error.message),
        *(_figures(export) if export.status == export_pb2.EXPORT_STATUS_READY else []),
        ("folder in the store", export.store_path),
        ("job", export.job_id),
    ]


def export_status(export: export_pb2.Export) -> str:
    """The status without its prefix."""
    return export_pb2.ExportStatus.Name(export.status).removeprefix("EXPORT_STATUS_")


def _figures(export: export_pb2.Export) -> list[tuple[str, str]]:
    return [
        ("sequences", number(export.sequences)),
        ("too short for it", number(export.short_sequences) if export.short_sequences else ""),
        ("tokens", number(export.tokens)),
        ("size", byte_size(export.size_bytes)),
    ]

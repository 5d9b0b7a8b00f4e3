"""Reads an uploaded file: Parquet stays as it is, everything else becomes Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.data.reading import ingest_upload
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.jobs.bringing import complete, monitor_of
from mistudio_datasets.service.uploads import upload_file
from mistudio_jobs.handler import JobContext


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Read the upload that people call `file_name`, of the named `format` or the one that is found out."""
    file = upload_file(context.store, context.resource_id)
    wanted = DataFormat(payload["format"]) if payload["format"] else None
    layout = ingest_upload(context.folder, file, payload["file_name"], wanted, monitor_of(context))
    return complete(layout, context)

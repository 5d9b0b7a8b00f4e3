"""Reads an uploaded file: Parquet stays as it is, everything else becomes Parquet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.data.incoming.reading import ingest_upload
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.uploads import Segment
from mistudio_datasets.jobs.bringing import complete, monitor_of
from mistudio_datasets.service.upload_segments import uploaded_source
from mistudio_jobs.handler import JobContext


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Read the upload in `segments` that people call `file_name`, of the named `format` or one that is found out."""
    segments = [Segment(name, size) for name, size in payload["segments"]]
    source = uploaded_source(context.store, context.resource_id, payload["file_name"], segments)
    wanted = DataFormat(payload["format"]) if payload["format"] else None
    layout = ingest_upload(context.folder, source, wanted, monitor_of(context))
    return complete(layout, context)

"""How a job that brings a dataset in ends: the layout is kept beside the files, figures are returned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.data.incoming.layout_file import write_layout
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import Monitor
from mistudio_jobs.handler import JobContext
from mistudio_servicekit.storage import folder_bytes


def monitor_of(context: JobContext) -> Monitor:
    """The wires of the data library to whoever runs the job."""
    return Monitor(report=context.report, check=context.check)


def monitor_after(fetched_bytes: int, total_bytes: int, context: JobContext) -> Monitor:
    """The wires for reading files that were fetched: counts on from `fetched_bytes` to the job's `total_bytes`."""

    def report(done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
        context.report(min(fetched_bytes + done, total_bytes), total_bytes, unit, stage, metrics)

    return Monitor(report=report, check=context.check)


def complete(layout: Layout, context: JobContext) -> dict[str, Any]:
    """Keep the layout; the job's result."""
    write_layout(context.folder, layout)
    return {
        "rows": layout.rows,
        "splits": {split.name: split.rows for split in layout.splits},
        "damaged_lines": layout.damaged_count,
        "size_bytes": folder_bytes(context.folder),
    }

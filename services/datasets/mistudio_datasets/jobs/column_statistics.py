"""Makes the statistics of a dataset's columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.data.columns.column_statistics import make_statistics
from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.jobs.bringing import monitor_of
from mistudio_datasets.jobs.deriving import dataset_folder
from mistudio_jobs.handler import JobContext
from mistudio_servicekit.storage import folder_bytes


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Write the statistics of all columns over all rows of every split of a dataset."""
    dataset = dataset_folder(payload, context)
    layout = read_layout(dataset)
    make_statistics(dataset, layout, context.folder, monitor_of(context))
    return {"columns": len(layout.columns), "rows": layout.rows, "size_bytes": folder_bytes(context.folder)}

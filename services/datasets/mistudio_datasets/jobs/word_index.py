"""Builds the word index of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.data.ranking.word_index import build_word_index
from mistudio_datasets.jobs.bringing import monitor_of
from mistudio_datasets.jobs.deriving import dataset_folder
from mistudio_jobs.handler import JobContext
from mistudio_servicekit.storage import folder_bytes


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Write the word index of all splits of a dataset."""
    dataset = dataset_folder(payload, context)
    layout = read_layout(dataset)
    build_word_index(dataset, layout, context.folder, monitor_of(context))
    return {"rows": layout.rows, "size_bytes": folder_bytes(context.folder)}

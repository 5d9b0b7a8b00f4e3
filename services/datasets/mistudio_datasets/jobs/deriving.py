"""What the jobs that derive data from a dataset have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from mistudio_jobs.handler import JobContext
from mistudio_servicekit.errors import DatasetNotFound
from mistudio_servicekit.storage import Area


def dataset_folder(payload: Mapping[str, Any], context: JobContext) -> Path:
    """The folder of the dataset that a payload names.

    Raises:
        DatasetNotFound: it was deleted since the job was submitted.
    """
    context.check()
    folder = context.store.epoch(Area.DATASETS, UUID(payload["dataset_id"]), payload["dataset_epoch"])
    if not folder.is_dir():
        raise DatasetNotFound.of(payload["dataset_id"])
    return folder

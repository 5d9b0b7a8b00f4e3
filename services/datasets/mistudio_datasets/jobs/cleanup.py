"""Removes the folders of what was deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_datasets.service.cleanup import folders_of
from mistudio_jobs.handler import JobContext
from mistudio_servicekit.errors import Unavailable
from mistudio_servicekit.storage import remove_tree


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Remove every folder that the payload names; those that are gone are no error."""
    folders = list(folders_of(payload, context.store))
    for removed, folder in enumerate(folders):
        context.check()
        context.report(removed, len(folders), "folders", "removing")
        try:
            remove_tree(folder)
        except OSError as error:
            raise Unavailable(
                f"The folder {folder.name} cannot be removed yet: {error.strerror}",
                next_step="It is tried again by itself",
            ) from error
    context.report(len(folders), len(folders), "folders", "removing")
    return {"folders": len(folders)}

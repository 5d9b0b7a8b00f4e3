"""The job that removes a deleted model's files. Runs in a worker's child process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_jobs.handler import JobContext
from mistudio_servicekit.errors import Unavailable
from mistudio_servicekit.storage import Area, folder_bytes, remove_tree


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Remove every folder of the job's model.

    Returns:
        `freed_bytes`: what its files took.

    Raises:
        Unavailable: a download that is being stopped still writes there.
    """
    folder = context.store.resource(Area.MODELS, context.resource_id)
    size = folder_bytes(folder)
    context.report(0, size, "bytes", "removing")
    try:
        remove_tree(folder)
    except OSError as error:
        raise Unavailable(
            f"The files of model {context.resource_id} cannot be removed yet ({type(error).__name__})",
            next_step="It is tried again by itself",
        ) from error
    context.report(size, size, "bytes", "removing")
    return {"freed_bytes": size}

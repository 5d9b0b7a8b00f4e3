"""The job that removes the files of deleted models. Runs in a worker's child process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from mistudio_jobs.handler import JobContext
from mistudio_models.service.cleanup import models_of
from mistudio_servicekit.errors import Unavailable
from mistudio_servicekit.storage import Area, folder_bytes, remove_tree


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Remove every folder of the models that the payload names; those that are gone are no error.

    Returns:
        `freed_bytes`: what their files took.

    Raises:
        Unavailable: a download that is being stopped still writes there.
    """
    named = models_of(payload, context.resource_id)
    folders = {model_id: context.store.resource(Area.MODELS, model_id) for model_id in named}
    sizes = {model_id: folder_bytes(folder) for model_id, folder in folders.items()}
    freed, total = 0, sum(sizes.values())
    for model_id, folder in folders.items():
        context.check()
        context.report(freed, total, "bytes", "removing")
        _remove(model_id, folder)
        freed += sizes[model_id]
    context.report(freed, total, "bytes", "removing")
    return {"freed_bytes": total}


def _remove(model_id: UUID, folder: Path) -> None:
    try:
        remove_tree(folder)
    except OSError as error:
        raise Unavailable(
            f"The files of model {model_id} cannot be removed yet ({type(error).__name__})",
            next_step="It is tried again by itself",
        ) from error

"""What models are made of."""

from __future__ import annotations

from uuid import UUID

from mistudio_models.domain.architecture import Architecture
from mistudio_models.service.subjects import find_here
from mistudio_models.service.tools import Tools


async def get(tools: Tools, model_id: UUID) -> Architecture:
    """The model's layers and the places where activations are read.

    Raises:
        ModelNotFound: no model has this id.
        ModelNotReady: its files are not complete.
        ArchitectureUnsupported: no installed code knows it.
        MalformedFile, TimedOut, OutOfMemory: its configuration cannot be that of a model.
        Unavailable: the child process that finds out does not start, or ended in the middle.
    """
    return await tools.examiner.architecture((await find_here(tools, model_id)).subject)

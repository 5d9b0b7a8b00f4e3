"""What models are made of."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from mistudio_models.domain.architecture import Architecture, Suitability
from mistudio_models.service.loadability import device_types_there, loadability
from mistudio_models.service.subjects import find_here
from mistudio_models.service.tools import Tools


async def get(tools: Tools, model_id: UUID) -> Architecture:
    """The model's layers and the places where activations are read.

    What stands in the way of loading it is among the reasons of what it is suitable for; it is suitable for nothing
    where no request can change that.

    Raises:
        ModelNotFound: no model has this id.
        ModelNotReady: its files are not complete.
        ArchitectureUnsupported: no installed code knows it.
        MalformedFile, TimedOut, OutOfMemory: its configuration cannot be that of a model.
        Unavailable: the child process that finds out does not start, or ended in the middle.
    """
    found = await find_here(tools, model_id)
    architecture = await tools.examiner.architecture(found.subject)
    types = await device_types_there(tools)
    known = await loadability(tools, found, types)
    loadable = not all(known.refusal(device_type) for device_type in types)
    reasons = tuple(problem.message for problem in known.problems)
    return replace(
        architecture,
        extraction=_limited(architecture.extraction, reasons, loadable=loadable),
        sae_training=_limited(architecture.sae_training, reasons, loadable=loadable),
    )


def _limited(suitability: Suitability, reasons: tuple[str, ...], *, loadable: bool) -> Suitability:
    return Suitability(suitability.suitable and loadable, (*reasons, *suitability.reasons))

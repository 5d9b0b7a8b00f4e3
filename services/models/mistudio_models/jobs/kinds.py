"""The kinds of jobs that the models service has."""

from __future__ import annotations

from mistudio_jobs.effects import NoEffects
from mistudio_jobs.handler import JobKind
from mistudio_models.jobs.effects import DownloadEffects, LoadEffects
from mistudio_models.service.tools import Kinds
from mistudio_servicekit.storage import Area

POOL = "cpu"
_MODEL = "model"


def job_kinds() -> Kinds:
    """Every kind, with its handler and effects."""
    download = JobKind(
        name="models.download",
        pool=POOL,
        resource_type=_MODEL,
        handler="mistudio_models.jobs.download:run",
        effects=DownloadEffects(),
        area=Area.MODELS,
        resumable=True,
    )
    cleanup = JobKind(
        name="models.cleanup",
        pool=POOL,
        resource_type=_MODEL,
        handler="mistudio_models.jobs.cleanup:run",
        effects=NoEffects(),
    )
    load = JobKind(
        name="models.load",
        pool=POOL,
        resource_type=_MODEL,
        handler="mistudio_models.jobs.load:run",
        effects=LoadEffects(),
        max_attempts=2,
        result_is_kept=True,
    )
    return Kinds(download=download, cleanup=cleanup, load=load)

"""The kinds of jobs of this service."""

from __future__ import annotations

from mistudio_datasets.config import SERVICE
from mistudio_datasets.domain.datasets import DatasetStatus
from mistudio_datasets.domain.derived import DerivedKind
from mistudio_datasets.jobs.dataset_effects import DatasetEffects, UploadEffects
from mistudio_datasets.jobs.derived_effects import DerivedEffects
from mistudio_datasets.jobs.export_effects import ExportEffects
from mistudio_datasets.jobs.tokenization_effects import TokenizationEffects
from mistudio_datasets.service.tools import Kinds
from mistudio_jobs.effects import NoEffects
from mistudio_jobs.handler import JobKind
from mistudio_jobs.secrets import SecretKeys
from mistudio_servicekit.storage import Area, Store

POOL = "cpu"
"""Every kind runs in this pool."""

_HANDLERS = "mistudio_datasets.jobs"


def job_kinds(store: Store, keys: SecretKeys) -> Kinds:
    """The kinds, with their effects on the rows of this service."""
    dataset_cleanup = _cleanup("dataset_cleanup", "dataset")
    return Kinds(
        download=JobKind(
            name=f"{SERVICE}.download",
            pool=POOL,
            resource_type="dataset",
            handler=f"{_HANDLERS}.download:run",
            effects=DatasetEffects(store, DatasetStatus.DOWNLOADING),
            area=Area.DATASETS,
            resumable=True,
        ),
        ingest=JobKind(
            name=f"{SERVICE}.ingest",
            pool=POOL,
            resource_type="dataset",
            handler=f"{_HANDLERS}.ingest:run",
            effects=UploadEffects(store, dataset_cleanup, keys),
            area=Area.DATASETS,
        ),
        tokenize=JobKind(
            name=f"{SERVICE}.tokenize",
            pool=POOL,
            resource_type="tokenization",
            handler=f"{_HANDLERS}.tokenize:run",
            effects=TokenizationEffects(store),
            area=Area.TOKENIZATIONS,
        ),
        export=JobKind(
            name=f"{SERVICE}.export",
            pool=POOL,
            resource_type="export",
            handler=f"{_HANDLERS}.export:run",
            effects=ExportEffects(),
            area=Area.EXPORTS,
        ),
        word_index=_deriving(DerivedKind.WORD_INDEX),
        column_statistics=_deriving(DerivedKind.COLUMN_STATISTICS),
        dataset_cleanup=dataset_cleanup,
        tokenization_cleanup=_cleanup("tokenization_cleanup", "tokenization"),
        export_cleanup=_cleanup("export_cleanup", "export"),
    )


def _deriving(kind: DerivedKind) -> JobKind:
    return JobKind(
        name=f"{SERVICE}.{kind}",
        pool=POOL,
        resource_type=kind.value,
        handler=f"{_HANDLERS}.{kind}:run",
        effects=DerivedEffects(),
        area=Area.DERIVED,
    )


def _cleanup(verb: str, resource_type: str) -> JobKind:
    return JobKind(
        name=f"{SERVICE}.{verb}",
        pool=POOL,
        resource_type=resource_type,
        handler=f"{_HANDLERS}.cleanup:run",
        effects=NoEffects(),
    )

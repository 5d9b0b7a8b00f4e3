"""Datasets with what belongs to them, and what became of a batch of them, as messages."""

from __future__ import annotations

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2, derived_data_pb2
from mistudio_datasets.api.conversion import dataset_message
from mistudio_datasets.api.layout_messages import ALONE, Detail
from mistudio_datasets.domain.derived import Derived, DerivedKind
from mistudio_datasets.domain.disk_use import DiskUse
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.service.datasets import Overview
from mistudio_jobs.events import error_message, job_message
from mistudio_jobs.started import BatchDeletion
from mistudio_servicekit.batches import Refusal

_STATUSES = {
    WorkStatus.QUEUED: derived_data_pb2.DERIVED_STATUS_PROCESSING,
    WorkStatus.PROCESSING: derived_data_pb2.DERIVED_STATUS_PROCESSING,
    WorkStatus.READY: derived_data_pb2.DERIVED_STATUS_READY,
    WorkStatus.ERROR: derived_data_pb2.DERIVED_STATUS_ERROR,
    WorkStatus.CANCELLED: derived_data_pb2.DERIVED_STATUS_ERROR,
}


def overview_message(overview: Overview, detail: Detail = ALONE) -> dataset_pb2.Dataset:
    """The dataset as clients see it, with all that belongs to it, and as much of its layout as `detail` says."""
    message = dataset_message(overview.dataset, detail)
    message.disk_use.CopyFrom(_disk_use_message(overview.disk_use))
    by_kind = {derived.kind: _derived_message(derived) for derived in overview.derived}
    none = derived_data_pb2.DerivedData()
    message.word_index.CopyFrom(by_kind.get(DerivedKind.WORD_INDEX, none))
    message.column_statistics.CopyFrom(by_kind.get(DerivedKind.COLUMN_STATISTICS, none))
    return message


def batch_message(batch: BatchDeletion) -> datasets_service_pb2.BatchDeleteDatasetsResponse:
    """What became of a batch, as clients see it."""
    return datasets_service_pb2.BatchDeleteDatasetsResponse(
        deleted_ids=map(str, batch.deleted),
        failures=map(_failure_message, batch.refusals),
        job=None if batch.job is None else job_message(batch.job),
    )


def _failure_message(refusal: Refusal) -> datasets_service_pb2.DeletionFailure:
    return datasets_service_pb2.DeletionFailure(id=refusal.id, error=error_message(refusal.error.to_record()))


def _disk_use_message(use: DiskUse) -> dataset_pb2.DiskUse:
    return dataset_pb2.DiskUse(
        total_bytes=use.total_bytes,
        dataset_bytes=use.dataset_bytes,
        derived_bytes=use.derived_bytes,
        tokenization_bytes=use.tokenization_bytes,
        export_bytes=use.export_bytes,
    )


def _derived_message(derived: Derived) -> derived_data_pb2.DerivedData:
    return derived_data_pb2.DerivedData(
        status=_STATUSES[derived.status], job_id=str(derived.job_id), size_bytes=derived.size_bytes
    )

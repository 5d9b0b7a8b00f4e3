"""Datasets and tokenizations as messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import ParseDict

from mistudio.datasets.v1 import dataset_pb2, tokenization_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_datasets.api.layout_messages import ALONE, Detail, add_layout
from mistudio_datasets.api.settings_messages import settings_message
from mistudio_datasets.domain.datasets import DataFormat, Dataset, DatasetStatus
from mistudio_datasets.domain.statistics import TokenizationStatistics
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_jobs.events import error_message, timestamp
from mistudio_servicekit.requests import etag_of
from mistudio_servicekit.storage import Area

_FORMATS = {
    dataset_pb2.UPLOAD_FORMAT_JSONL: DataFormat.JSONL,
    dataset_pb2.UPLOAD_FORMAT_CSV: DataFormat.CSV,
    dataset_pb2.UPLOAD_FORMAT_PARQUET: DataFormat.PARQUET,
    dataset_pb2.UPLOAD_FORMAT_TEXT: DataFormat.TEXT,
}


def dataset_message(dataset: Dataset, detail: Detail = ALONE) -> dataset_pb2.Dataset:
    """The dataset as clients see it, with as much of its layout as `detail` says."""
    message = dataset_pb2.Dataset(
        id=str(dataset.id),
        name=dataset.name,
        status=_dataset_status(dataset.status),
        error=_error(dataset.error),
        repo_id=dataset.repo_id,
        revision=dataset.revision,
        commit=dataset.commit,
        config=dataset.config,
        size_bytes=dataset.size_bytes,
        labels=dataset.labels,
        job_id=str(dataset.job_id),
        create_time=timestamp(dataset.create_time),
        update_time=timestamp(dataset.update_time),
        etag=etag_of(dataset.version),
    )
    if dataset.layout is not None:
        add_layout(message, dataset.layout, detail)
    return message


def _dataset_status(status: DatasetStatus) -> dataset_pb2.DatasetStatus.ValueType:
    return dataset_pb2.DatasetStatus.Value(f"DATASET_STATUS_{status}")


def _error(record: Mapping[str, Any] | None) -> job_pb2.JobError | None:
    return None if record is None else error_message(record)


def upload_format(value: dataset_pb2.UploadFormat.ValueType) -> DataFormat | None:
    """The format that an upload names, or None if it shall be found out."""
    return _FORMATS.get(value)


def tokenization_message(tokenization: Tokenization) -> tokenization_pb2.Tokenization:
    """The tokenization as clients see it."""
    return tokenization_pb2.Tokenization(
        id=str(tokenization.id),
        dataset_id=str(tokenization.dataset_id),
        model_id=str(tokenization.model_id),
        settings=settings_message(tokenization.settings),
        status=tokenization_pb2.TokenizationStatus.Value(f"TOKENIZATION_STATUS_{tokenization.status}"),
        error=_error(tokenization.error),
        documents=tokenization.documents,
        tokens=tokenization.tokens,
        size_bytes=tokenization.size_bytes,
        engine=tokenization.engine,
        tokenizer_sha256=tokenization.tokenizer_sha256,
        store_path=_store_path(tokenization),
        job_id=str(tokenization.job_id),
        create_time=timestamp(tokenization.create_time),
        update_time=timestamp(tokenization.update_time),
        etag=etag_of(tokenization.version),
        model_delete_time=timestamp(tokenization.model_delete_time),
    )


def _store_path(tokenization: Tokenization) -> str:
    if tokenization.status is not WorkStatus.READY:
        return ""
    return f"{Area.TOKENIZATIONS}/{tokenization.id}/{tokenization.epoch}"


def statistics_message(figures: TokenizationStatistics) -> tokenization_pb2.TokenizationStatistics:
    """The figures of a tokenization as clients see them; field names are the same."""
    message = tokenization_pb2.TokenizationStatistics()
    ParseDict(figures.to_json(), message)
    return message

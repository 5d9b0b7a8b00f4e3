"""Uploads as messages, and what a client asks for as one."""

from __future__ import annotations

from mistudio.datasets.v1 import datasets_service_pb2, upload_pb2
from mistudio_datasets.api.conversion import upload_format
from mistudio_datasets.domain.uploads import Upload
from mistudio_datasets.service.upload_request import UploadRequest
from mistudio_jobs.events import timestamp


def upload_request(header: datasets_service_pb2.UploadHeader) -> UploadRequest:
    """What a header asks for."""
    return UploadRequest(
        file_name=header.file_name,
        name=header.name,
        format=upload_format(header.format),
        size_bytes=header.size_bytes,
        request_id=header.request_id,
        offset=header.offset,
    )


def upload_message(upload: Upload) -> upload_pb2.Upload:
    """The upload as clients see it."""
    return upload_pb2.Upload(
        request_id=upload.request_id,
        file_name=upload.file_name,
        received_bytes=upload.received_bytes,
        size_bytes=upload.size_bytes,
        complete=upload.complete,
        dataset_id=str(upload.dataset_id) if upload.complete else "",
        expire_time=timestamp(upload.expires_at),
    )

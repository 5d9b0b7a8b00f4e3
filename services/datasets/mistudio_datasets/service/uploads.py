"""Taking a local file in: its bytes go to the store as they come, then a job reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from mistudio_datasets.data.incoming.formats import detect_format
from mistudio_datasets.domain.datasets import Dataset, DatasetStatus
from mistudio_datasets.domain.uploads import Upload
from mistudio_datasets.service import upload_records
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.service.upload_files import Receiver
from mistudio_datasets.service.upload_records import UploadRecord
from mistudio_datasets.service.upload_request import UploadRequest, wrong_size
from mistudio_datasets.service.upload_segments import uploaded_source
from mistudio_datasets.store import datasets
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import Session
from mistudio_servicekit.errors import DatasetEmpty, MalformedFile, RequestIdReused, UnsupportedFormat

_REFUSED = (DatasetEmpty, MalformedFile, UnsupportedFormat, RequestIdReused)
"""What a whole file is refused with: sending more of it is of no use."""


@dataclass(frozen=True)
class Uploaded:
    """What was taken: the dataset with its job, and the bytes of the file."""

    started: Started[Dataset]
    size_bytes: int


async def upload(tools: Tools, request: UploadRequest, chunks: AsyncIterator[bytes]) -> Uploaded:
    """Take the file of `chunks` in and start to read it.

    What has come of an upload with a request_id stays for a while when it is cut, to be gone on with; of one without,
    and of a file that is refused, nothing is left in the store.

    Raises:
        MissingField, InvalidArgument: a field is wrong, a chunk is too big, or the size is not the promised one.
        DatasetEmpty, MalformedFile, UnsupportedFormat: the file cannot be what it should be.
        DiskFull: the store has no room.
        RequestIdReused: the request_id was used for another file.
        UploadOffsetMismatch: the upload goes on from another offset, or in another stream by now.
    """
    request.check()
    record = await upload_records.begin(tools, request)
    if record.upload.complete:
        return await _uploaded_before(tools, record.upload, chunks)
    receiver = Receiver(tools.store, record)
    try:
        digest = await receiver.receive(chunks)
        await _require_readable(tools, receiver.upload)
    except BaseException as error:
        if not record.kept or isinstance(error, _REFUSED):
            await asyncio.shield(record.discard())
        raise
    handing_over = asyncio.create_task(_hand_over(record, receiver.upload, request, digest))
    try:
        return Uploaded(await asyncio.shield(handing_over), receiver.upload.received_bytes)
    finally:
        # A client that goes now must not part the file from its job: either both stay or neither.
        await asyncio.wait({handing_over})


async def get_upload(tools: Tools, request_id: str) -> Upload:
    """How much of an upload is in the store.

    Raises:
        MissingField, InvalidArgument: there can be none of this request_id.
        UploadNotFound: there is none, or it has expired.
    """
    return await upload_records.get(tools, request_id)


async def _uploaded_before(tools: Tools, upload: Upload, chunks: AsyncIterator[bytes]) -> Uploaded:
    """What the end of an upload was answered with, for a client that went on after it without having heard."""
    size = upload.received_bytes
    async for chunk in chunks:
        raise wrong_size(size + len(chunk), size)
    async with tools.database.transaction() as session:
        dataset = await datasets.get(session, upload.dataset_id)
        job = await tools.engine.get(session, dataset.job_id)
    return Uploaded(Started(dataset, job, joined=True), size)


async def _require_readable(tools: Tools, upload: Upload) -> None:
    source = uploaded_source(tools.store, upload.dataset_id, upload.file_name, upload.segments)
    await asyncio.to_thread(detect_format, source, upload.format)


async def _hand_over(record: UploadRecord, upload: Upload, request: UploadRequest, digest: str) -> Started[Dataset]:
    """Start the job that reads the file. Where one has been started for the same file before, this one goes."""
    try:
        started = await _start(record, upload, request, digest)
    except BaseException as error:
        if not record.kept or isinstance(error, _REFUSED):
            await record.discard()
        raise
    if started.joined:
        await upload_records.remove_files(record.tools, upload)
    return started


async def _start(record: UploadRecord, upload: Upload, request: UploadRequest, digest: str) -> Started[Dataset]:
    async with record.tools.engine.transaction() as session:
        started = await _submit(session, record.tools, upload, request, digest)
        whole = replace(
            upload, dataset_id=started.resource.id, size_bytes=upload.received_bytes, digest=digest, complete=True
        )
        await record.note_in(session, whole)
    return started


async def _submit(
    session: Session, tools: Tools, upload: Upload, request: UploadRequest, digest: str
) -> Started[Dataset]:
    new = NewJob(
        kind=tools.kinds.ingest,
        resource_id=upload.dataset_id,
        payload={
            "file_name": upload.file_name,
            "format": upload.format and upload.format.value,
            "segments": [[segment.name, segment.size_bytes] for segment in upload.segments],
        },
        request_id=upload.request_id,
        request_content=request.content(digest),
    )
    submission = await tools.engine.submit(session, new)
    if submission.joined:
        earlier = await datasets.get(session, submission.job.resource_id)
        return Started(earlier, submission.job, joined=True)
    dataset = await datasets.add(session, _new_dataset(upload, submission.job), identity=None)
    return Started(dataset, submission.job, joined=False)


def _new_dataset(upload: Upload, job: Job) -> Dataset:
    return Dataset(
        id=job.resource_id,
        name=upload.name or upload.file_name,
        status=DatasetStatus.PROCESSING,
        repo_id="",
        revision="",
        commit="",
        config="",
        splits=(),
        epoch=0,
        layout=None,
        size_bytes=0,
        error=None,
        job_id=job.id,
        create_time=job.created_at,
        update_time=job.created_at,
    )

"""Taking a local file in: its bytes go to the store as they come, then a job reads them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from mistudio_datasets.data.formats import detect_format
from mistudio_datasets.domain.datasets import DataFormat, Dataset, DatasetStatus
from mistudio_datasets.service.cleanup import UPLOAD_EPOCH
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.store import datasets
from mistudio_jobs.queue import NewJob
from mistudio_jobs.started import Started
from mistudio_jobs.tables import Job
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import InvalidArgument, MissingField
from mistudio_servicekit.requests import MAX_NAME, check_length, check_request_id
from mistudio_servicekit.storage import Area, Store, disk_full, is_disk_full, remove_tree

CHUNK_BYTES = 1 << 20
"""Most bytes of one piece of an upload."""

_FLUSH_BYTES = 4 << 20
_LOOK_BYTES = 64 << 20
"""The store's free space is looked at again after so many bytes at the latest."""


@dataclass(frozen=True)
class UploadRequest:
    """A file to take in; see `UploadHeader` for the meaning of each field."""

    file_name: str
    name: str = ""
    format: DataFormat | None = None
    size_bytes: int = 0
    request_id: str = ""

    def check(self) -> None:
        """Raise `InvalidArgument` or `MissingField` unless the fields can be right."""
        if not self.file_name:
            raise MissingField.of("header.file_name", "rows.jsonl")
        check_length("header.file_name", self.file_name, MAX_NAME)
        check_length("header.name", self.name, MAX_NAME)
        check_request_id(self.request_id)
        if self.size_bytes < 0:
            raise InvalidArgument(
                f"header.size_bytes is {self.size_bytes}",
                next_step="Give the size of the file, or 0 if it is not known",
                field="header.size_bytes",
            )

    def content(self, sha256: str) -> dict[str, Any]:
        """What the request says, its file's bytes by their hash."""
        return {
            "file_name": self.file_name,
            "name": self.name,
            "format": self.format and self.format.value,
            "sha256": sha256,
        }


@dataclass(frozen=True)
class Uploaded:
    """What was taken: the dataset with its job, and the bytes of the file."""

    started: Started[Dataset]
    size_bytes: int


def upload_file(store: Store, dataset_id: UUID) -> Path:
    """Where an upload lies until it has been read."""
    return store.epoch(Area.DATASETS, dataset_id, UPLOAD_EPOCH) / "upload"


async def upload(tools: Tools, request: UploadRequest, chunks: AsyncIterator[bytes]) -> Uploaded:
    """Take the file of `chunks` in and start to read it. Whatever goes wrong, nothing of it is left in the store.

    Raises:
        MissingField, InvalidArgument: a field is wrong, a chunk is too big, or the size is not the promised one.
        DatasetEmpty, MalformedFile, UnsupportedFormat: the file cannot be what it should be.
        DiskFull: the store has no room.
        RequestIdReused: the request_id was used for another file.
    """
    request.check()
    dataset_id = new_id()
    file = upload_file(tools.store, dataset_id)
    try:
        received = await _Receiver(tools.store, file, request).receive(chunks)
        await asyncio.to_thread(detect_format, file, request.file_name, request.format)
    except BaseException:
        await asyncio.to_thread(remove_tree, tools.store.resource(Area.DATASETS, dataset_id))
        raise
    handing_over = asyncio.create_task(_hand_over(tools, request, dataset_id, received.sha256))
    try:
        return Uploaded(await asyncio.shield(handing_over), received.size_bytes)
    finally:
        # A client that goes now must not part the file from its job: either both stay or neither.
        await asyncio.wait({handing_over})


async def _hand_over(tools: Tools, request: UploadRequest, dataset_id: UUID, sha256: str) -> Started[Dataset]:
    """Start the job that reads the file; without one the file goes."""
    is_needed = False
    try:
        started = await _start(tools, request, dataset_id, sha256)
        is_needed = not started.joined
        return started
    finally:
        if not is_needed:
            await asyncio.to_thread(remove_tree, tools.store.resource(Area.DATASETS, dataset_id))


@dataclass(frozen=True)
class _Received:
    size_bytes: int
    sha256: str


class _Receiver:
    """Writes an upload to disk with at most a few MiB in memory."""

    def __init__(self, store: Store, file: Path, request: UploadRequest) -> None:
        self._store = store
        self._file = file
        self._request = request
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._size = 0
        self._room = 0

    async def receive(self, chunks: AsyncIterator[bytes]) -> _Received:
        """Write all chunks, flushed to disk."""
        await asyncio.to_thread(self._begin)
        async for chunk in chunks:
            self._take(chunk)
            if len(self._buffer) >= _FLUSH_BYTES:
                await asyncio.to_thread(self._flush)
        await asyncio.to_thread(self._flush)
        promised = self._request.size_bytes
        if promised and self._size != promised:
            raise _wrong_size(self._size, promised)
        return _Received(self._size, self._hash.hexdigest())

    def _begin(self) -> None:
        self._require_room(max(self._request.size_bytes, 1))
        self._file.parent.mkdir(parents=True)

    def _take(self, chunk: bytes) -> None:
        if len(chunk) > CHUNK_BYTES:
            raise InvalidArgument(
                f"A chunk has {len(chunk):,} bytes",
                next_step=f"Send chunks of at most {CHUNK_BYTES:,} bytes",
                field="chunk",
            )
        self._size += len(chunk)
        if 0 < self._request.size_bytes < self._size:
            raise _wrong_size(self._size, self._request.size_bytes)
        self._buffer += chunk

    def _flush(self) -> None:
        if self._size > self._room:
            self._require_room(len(self._buffer))
        self._hash.update(self._buffer)
        try:
            with self._file.open("ab") as file:
                file.write(self._buffer)
        except OSError as error:
            if is_disk_full(error):
                raise disk_full(f"The store ran full after {self._size:,} bytes of the upload") from error
            raise
        self._buffer.clear()

    def _require_room(self, needed: int) -> None:
        """Look at the store's free space: for `needed` bytes now, and for what may come before the next look."""
        self._store.require_free(needed, f"Uploading {self._request.file_name!r}")
        self._room = self._size - len(self._buffer) + min(self._store.free_bytes(), _LOOK_BYTES)


def _wrong_size(size: int, promised: int) -> InvalidArgument:
    more = "at least " if size > promised else ""
    return InvalidArgument(
        f"The upload has {more}{size:,} bytes, but header.size_bytes promises {promised:,}",
        next_step="Send the whole file and no more, or leave header.size_bytes at 0",
        field="header.size_bytes",
    )


async def _start(tools: Tools, request: UploadRequest, dataset_id: UUID, sha256: str) -> Started[Dataset]:
    new = NewJob(
        kind=tools.kinds.ingest,
        resource_id=dataset_id,
        payload={"file_name": request.file_name, "format": request.format and request.format.value},
        request_id=request.request_id,
        request_content=request.content(sha256),
    )
    async with tools.engine.transaction() as session:
        submission = await tools.engine.submit(session, new)
        if submission.joined:
            earlier = await datasets.get(session, submission.job.resource_id)
            return Started(earlier, submission.job, joined=True)
        dataset = _new_dataset(request, submission.job)
        return Started(await datasets.add(session, dataset, identity=None), submission.job, joined=False)


def _new_dataset(request: UploadRequest, job: Job) -> Dataset:
    return Dataset(
        id=job.resource_id,
        name=request.name or request.file_name,
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

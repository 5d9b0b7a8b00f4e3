"""The record of an upload: where a stream begins, how far it is, and whether it is still its turn."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from uuid import uuid4

from mistudio_datasets.domain.uploads import FIRST_SEGMENT, Segment, Upload
from mistudio_datasets.service.tools import Tools
from mistudio_datasets.service.upload_request import UploadRequest, offset_mismatch
from mistudio_datasets.store import uploads
from mistudio_servicekit.database import Session, new_id
from mistudio_servicekit.errors import MissingField, UploadNotFound
from mistudio_servicekit.requests import check_request_id
from mistudio_servicekit.storage import Area, remove_tree


async def get(tools: Tools, request_id: str) -> Upload:
    """The upload that was begun with `request_id`.

    Raises:
        MissingField, InvalidArgument: there can be none of this request_id.
        UploadNotFound: there is none, or it has expired.
    """
    if not check_request_id(request_id):
        raise MissingField.of("request_id", "my-upload-1")
    async with tools.database.transaction() as session:
        upload = await uploads.find(session, request_id)
    if upload is None:
        raise UploadNotFound(
            f"No upload was begun with request_id {request_id!r}, or it has expired",
            next_step="Send the file from its beginning, with offset 0",
            metadata={"id": request_id},
        )
    return upload


@dataclass(frozen=True)
class UploadRecord:
    """The record of one stream's upload.

    Args:
        tools: where it is kept.
        upload: as the stream found it.
        kept: whether it can be gone on with. If not, it is written nowhere and nothing is left of it after a cut.
    """

    tools: Tools
    upload: Upload
    kept: bool

    async def note(self, upload: Upload) -> None:
        """Write how far it is; its bytes must be flushed to disk.

        Raises:
            UploadOffsetMismatch: another stream has taken it over.
        """
        if self.kept:
            async with self.tools.database.transaction() as session:
                await self.note_in(session, upload)

    async def note_in(self, session: Session, upload: Upload) -> None:
        """The same in a transaction with more to it."""
        if self.kept and not await uploads.note(session, upload, self.tools.upload_lifetime):
            now = await uploads.find(session, upload.request_id)
            problem = "Another stream goes on with this upload"
            raise offset_mismatch(upload.request_id, now.received_bytes if now else 0, problem)

    async def discard(self) -> None:
        """Remove the record and the files, unless another stream has taken them over."""
        async with self.tools.database.transaction() as session:
            is_own = not self.kept or await uploads.remove(session, self.upload)
        if is_own:
            await remove_files(self.tools, self.upload)


async def begin(tools: Tools, request: UploadRequest) -> UploadRecord:
    """The record of a stream: a fresh one, or with `request.offset` that of the upload it goes on with.

    A stream that goes on writes a file of its own behind what counts of those before: whatever an earlier stream
    still writes, for example from behind a connection that died without a word, it writes where nobody reads.

    Raises:
        UploadOffsetMismatch: the request goes on from where the upload is not.
        RequestIdReused: the request_id was used for another file.
    """
    if not request.request_id:
        return UploadRecord(tools, _fresh(request), kept=False)
    async with tools.database.transaction() as session:
        await uploads.lock(session, request.request_id)
        known = await uploads.find(session, request.request_id)
        record = _begin(tools, request, known)
        if record.kept and not record.upload.complete:
            await uploads.put(session, record.upload, tools.upload_lifetime)
    if known and not known.complete and known.dataset_id != record.upload.dataset_id:
        await remove_files(tools, known)
    return record


def _begin(tools: Tools, request: UploadRequest, known: Upload | None) -> UploadRecord:
    if known is not None:
        request.require_same(known)
    if request.offset == 0:
        # Sent again after it was complete, the file is only compared.
        return UploadRecord(tools, _fresh(request), kept=not (known and known.complete))
    request.require_offset(known.received_bytes if known else 0)
    assert known is not None, "an offset beyond 0 needs bytes in the store"
    return UploadRecord(tools, known if known.complete else _taken_over(request, known), kept=True)


def _fresh(request: UploadRequest) -> Upload:
    return Upload(
        request_id=request.request_id,
        dataset_id=new_id(),
        file_name=request.file_name,
        name=request.name,
        format=request.format,
        size_bytes=request.size_bytes,
        segments=(Segment(FIRST_SEGMENT, 0),),
        digest="",
        writer=uuid4(),
    )


def _taken_over(request: UploadRequest, known: Upload) -> Upload:
    writer = uuid4()
    written = (segment for segment in known.segments if segment.size_bytes)
    segments = (*written, Segment(f"{FIRST_SEGMENT}-{writer}", 0))
    return replace(known, size_bytes=known.size_bytes or request.size_bytes, segments=segments, writer=writer)


async def remove_files(tools: Tools, upload: Upload) -> None:
    """Delete the files of an upload."""
    await asyncio.to_thread(remove_tree, tools.store.resource(Area.DATASETS, upload.dataset_id))

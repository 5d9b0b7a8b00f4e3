"""Receiving an upload: its bytes are written as they come, and counted once they are flushed to disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from mistudio_datasets.service.upload_records import UploadRecord
from mistudio_datasets.service.upload_request import CHUNK_BYTES, wrong_size
from mistudio_datasets.service.upload_segments import SegmentFile
from mistudio_servicekit.database import DatabaseError
from mistudio_servicekit.errors import InvalidArgument, MistudioError
from mistudio_servicekit.storage import Store

log = logging.getLogger(__name__)

_WRITE_BYTES = 4 << 20
_NOTE_BYTES, _NOTE_SECONDS = 32 << 20, 1.0
"""How far an upload is, is noted after so many bytes or so much time: what a crash may cost."""
_LOOK_BYTES = 64 << 20
"""The store's free space is looked at again after so many bytes at the latest."""

_T = TypeVar("_T")


class Receiver:
    """Writes the bytes of one stream, with a few MiB in memory.

    Args:
        store: where the file goes.
        record: of the upload; told how far it is.
    """

    def __init__(self, store: Store, record: UploadRecord) -> None:
        self.upload = record.upload
        self._store, self._record = store, record
        self._segment = SegmentFile(store, record.upload)
        self._size = record.upload.received_bytes
        self._buffer = bytearray()
        self._noted_bytes, self._noted_at = self._size, time.monotonic()
        self._room = 0
        self._turns = _Turns()

    async def receive(self, chunks: AsyncIterator[bytes]) -> str:
        """Take all chunks, to the last byte on disk and noted; the digest of the whole file.

        When the stream is cut, what has come is noted before the error goes on.

        Raises:
            InvalidArgument: a chunk is too big, or the size is not the promised one.
            DiskFull: the store has no room.
            UploadOffsetMismatch: another stream has taken the upload over.
        """
        try:
            await self._turns.take(self._begin)
            async for chunk in chunks:
                self._take(chunk)
                if len(self._buffer) >= _WRITE_BYTES or self._is_due:
                    await self._turns.take(self._write)
            await self._turns.take(self._write_all)
        except BaseException:
            await self._turns.take(self._save)
            raise
        finally:
            await self._turns.take(self._close)
        if self._size < self.upload.size_bytes:
            raise wrong_size(self._size, self.upload.size_bytes)
        return self._segment.digest.hexdigest()

    @property
    def _is_due(self) -> bool:
        return self._record.kept and time.monotonic() - self._noted_at >= _NOTE_SECONDS

    async def _begin(self) -> None:
        self._require_room(max(self.upload.size_bytes - self._size, 1))
        await asyncio.to_thread(self._segment.open)

    def _take(self, chunk: bytes) -> None:
        if len(chunk) > CHUNK_BYTES:
            raise InvalidArgument(
                f"A chunk has {len(chunk):,} bytes",
                next_step=f"Send chunks of at most {CHUNK_BYTES:,} bytes",
                field="chunk",
            )
        if 0 < self.upload.size_bytes < self._size + len(chunk):
            raise wrong_size(self._size + len(chunk), self.upload.size_bytes)
        self._size += len(chunk)
        self._buffer += chunk

    async def _write(self) -> None:
        if self._size > self._room:
            await asyncio.to_thread(self._require_room, len(self._buffer))
        buffer, self._buffer = self._buffer, bytearray()
        await asyncio.to_thread(self._segment.write, buffer)
        if self._is_due or self._segment.end - self._noted_bytes >= _NOTE_BYTES:
            await self._note()

    async def _write_all(self) -> None:
        await self._write()
        await self._note()

    async def _note(self) -> None:
        """Flush what is written to disk, then let it count."""
        await asyncio.to_thread(self._segment.sync)
        self.upload = self._segment.progress(self.upload)
        await self._record.note(self.upload)
        self._noted_bytes, self._noted_at = self._segment.end, time.monotonic()

    async def _save(self) -> None:
        """Keep what has come for whoever goes on; the stream has ended badly already."""
        if not self._record.kept or not self._segment.is_open:
            return
        try:
            with suppress(MistudioError, OSError):  # a full store does not take the last few bytes either
                await self._write()
            await self._note()
        except (MistudioError, OSError, DatabaseError) as error:
            log.info("The end of a cut upload is lost", extra={"error": type(error).__name__})

    async def _close(self) -> None:
        await asyncio.to_thread(self._segment.close)

    def _require_room(self, needed: int) -> None:
        """Look at the store's free space: for `needed` bytes now, and for what may come before the next look."""
        self._store.require_free(needed, f"Uploading {self.upload.file_name!r}")
        self._room = self._size - len(self._buffer) + min(self._store.free_bytes(), _LOOK_BYTES)


class _Turns:
    """Runs steps one after the other, each to its end even where its caller is cancelled while it waits."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[object]] = set()

    async def take(self, step: Callable[[], Awaitable[_T]]) -> _T:
        """Run `step` after those before it."""
        task = asyncio.create_task(self._run(step))
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _run(self, step: Callable[[], Awaitable[_T]]) -> _T:
        async with self._lock:
            return await step()

    def _done(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has it, unless it was cancelled: then nobody asks

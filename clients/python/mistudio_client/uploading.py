"""A local file on its way to the store: sent as a stream, and after a cut from where the store has it."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs of grpc leave it out

from mistudio.datasets.v1 import datasets_service_pb2
from mistudio_client.errors import MistudioCallError
from mistudio_client.watching import CUT_CODES, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PATIENCE_SECONDS

if TYPE_CHECKING:
    # This name exists for type checkers only.
    from mistudio.datasets.v1.datasets_service_pb2_grpc import DatasetsServiceAsyncStub

OnProgress: TypeAlias = Callable[[int, int], None]
"""Told the bytes sent so far and in all; never less than before."""

_CHUNK_BYTES = 1024 * 1024
# The time an upload may take: some to begin and end with, the rest by its size at the slowest link that is of use.
_BASE_SECONDS, _SLOWEST_BYTES_PER_SECOND = 120.0, 128 * 1024


def deadline_seconds(size_bytes: int) -> float:
    """How long sending so many bytes may take."""
    return _BASE_SECONDS + size_bytes / _SLOWEST_BYTES_PER_SECOND


class ResumedUpload:
    """One file, sent in as many streams as it takes.

    Args:
        datasets: stub of the service.
        target: the gateways, for texts.
        path: the file.
        header: what it will be, with a request_id; its size and offset are filled in.
        on_progress: told how far it is.
        patience_seconds: how long nothing may arrive before the upload gives up.
    """

    def __init__(
        self,
        datasets: DatasetsServiceAsyncStub,
        target: str,
        path: Path,
        header: datasets_service_pb2.UploadHeader,
        on_progress: OnProgress | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._datasets, self._target, self._path = datasets, target, path
        self._header, self._on_progress = header, on_progress
        self._patience = patience_seconds
        self._stamp = _stamp(path.stat())
        self._header.size_bytes = path.stat().st_size
        self._sent = 0
        self._trouble: OSError | None = None
        self._arrived = 0
        self._stuck_since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    async def run(self, *, begun: bool) -> datasets_service_pb2.UploadDatasetResponse:
        """Send the file; with `begun` go on with what an earlier process has sent of it.

        Raises:
            MistudioCallError: the upload was refused, or no gateway answered for long.
            OSError: the file cannot be read, or changed meanwhile.
        """
        if begun:
            self._header.offset = await self._missing_from(complete=0)
        while True:
            try:
                return await self._send()
            except MistudioCallError as error:
                self._header.offset = await self._offset_after(error)

    async def _send(self) -> datasets_service_pb2.UploadDatasetResponse:
        """Send what is missing in one stream."""
        timeout = deadline_seconds(self._header.size_bytes - self._header.offset)
        call = self._datasets.UploadDataset(timeout=timeout)
        writing = asyncio.create_task(self._write(call))
        try:
            return await call
        except grpc.aio.AioRpcError as failure:
            raise MistudioCallError.of(failure, self._target) from None
        except asyncio.CancelledError:
            if self._trouble:
                raise self._trouble from None
            raise
        finally:
            writing.cancel()

    async def _write(self, call: Any) -> None:
        """Send the requests; where the file cannot be read, cancel the call.

        The service may refuse the file while a chunk is on its way. `call.write` would then put a status of its own,
        INTERNAL, before the service's (grpc issue 36066), so chunks go out by the call beneath it, which does not.
        """
        wire = call._cython_call
        try:
            await call.wait_for_connection()
            async for request in self._requests():
                await wire.send_serialized_message(request.SerializeToString())
            await wire.send_receive_close()
        except (cygrpc.InternalError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
            return  # The call has ended; its status tells why.
        except OSError as error:
            self._trouble = error
            call.cancel()

    async def _requests(self) -> AsyncIterator[datasets_service_pb2.UploadDatasetRequest]:
        """The header, then the file in chunks, each read when the one before has been taken: memory stays bounded."""
        yield datasets_service_pb2.UploadDatasetRequest(header=self._header)
        at = self._header.offset
        # Opened anew for each stream: the one before may still be reading.
        with self._path.open("rb") as file:
            self._require_unchanged(os.fstat(file.fileno()))
            file.seek(at)
            while chunk := await asyncio.to_thread(file.read, min(_CHUNK_BYTES, self._header.size_bytes - at)):
                yield datasets_service_pb2.UploadDatasetRequest(chunk=chunk)
                at += len(chunk)
                self._tell(at)

    def _require_unchanged(self, facts: os.stat_result) -> None:
        if _stamp(facts) != self._stamp:
            raise OSError(0, "It was changed while it was sent", str(self._path))

    def _tell(self, sent: int) -> None:
        if sent > self._sent:
            self._sent = sent
            if self._on_progress:
                self._on_progress(sent, self._header.size_bytes)

    async def _offset_after(self, error: MistudioCallError) -> int:
        """Where to go on after `error`, asked until a gateway answers; raises where there is no use in it."""
        while True:
            await self._rest_after(error)
            try:
                offset = await self._missing_from(complete=self._header.size_bytes)
            except MistudioCallError as unanswered:
                self._require_patience(unanswered)
                error = unanswered
                continue
            if offset > self._arrived:
                self._arrived, self._stuck_since, self._pause = offset, None, FIRST_PAUSE_SECONDS
            self._require_patience(error)
            return offset

    async def _missing_from(self, *, complete: int) -> int:
        """The first byte that the store does not have; `complete` if it has the whole file."""
        request = datasets_service_pb2.GetUploadRequest(request_id=self._header.request_id)
        try:
            upload = (await self._datasets.GetUpload(request)).upload
        except MistudioCallError as error:
            if error.reason == "UPLOAD_NOT_FOUND":
                return 0
            raise
        return complete if upload.complete else upload.received_bytes

    async def _rest_after(self, error: MistudioCallError) -> None:
        """Pause before the next call; raise `error` if that cannot help."""
        if not (self._sent and _is_cut(error)):
            raise error
        if self._stuck_since is None:
            self._stuck_since = time.monotonic()
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, no secret
        await asyncio.sleep(max(error.retry_after or 0.0, pause))
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _require_patience(self, error: MistudioCallError) -> None:
        """Raise `error` if nothing has arrived for too long."""
        if self._stuck_since is not None and time.monotonic() - self._stuck_since > self._patience:
            raise error


def _is_cut(error: MistudioCallError) -> bool:
    """Whether the next stream may bring what this one did not. An offset is wrong where the store still took bytes."""
    if error.reason:
        return error.code is grpc.StatusCode.UNAVAILABLE or error.reason in ("UPLOAD_OFFSET_MISMATCH", "TIMED_OUT")
    return error.code in CUT_CODES


def _stamp(facts: os.stat_result) -> tuple[int, int, int]:
    """Tells a changed file from the same one."""
    return facts.st_ino, facts.st_size, facts.st_mtime_ns

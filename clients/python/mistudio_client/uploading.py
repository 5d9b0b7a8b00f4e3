"""A local file as the stream of messages that `UploadDataset` takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, TypeAlias

from mistudio.datasets.v1 import datasets_service_pb2

OnProgress: TypeAlias = Callable[[int, int], None]
"""Told the bytes sent so far and in all."""

_CHUNK_BYTES = 1024 * 1024
# The time an upload may take: some to begin and end with, the rest by its size at the slowest link that is of use.
_BASE_SECONDS, _SLOWEST_BYTES_PER_SECOND = 120.0, 128 * 1024


def deadline_seconds(size_bytes: int) -> float:
    """How long an upload of this size may take."""
    return _BASE_SECONDS + size_bytes / _SLOWEST_BYTES_PER_SECOND


async def requests(
    file: BinaryIO, header: datasets_service_pb2.UploadHeader, on_progress: OnProgress | None
) -> AsyncIterator[datasets_service_pb2.UploadDatasetRequest]:
    """The header, then the file in chunks, each read when the one before has been taken: memory stays bounded."""
    yield datasets_service_pb2.UploadDatasetRequest(header=header)
    sent = 0
    while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield datasets_service_pb2.UploadDatasetRequest(chunk=chunk)
        sent += len(chunk)
        if on_progress:
            on_progress(sent, header.size_bytes)

"""Uploads: files on their way in, which go on where they were cut; a digest that tells whether two are the same."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mistudio_datasets.domain.datasets import DataFormat

BLOCK_BYTES = 4 << 20
"""A digest can be gone on with from every multiple of so many bytes."""

UPLOAD_EPOCH = 0
"""The folder of a dataset that the service itself writes: an upload as it came. Attempts of jobs count from 1."""

FIRST_SEGMENT = "upload"
"""Name of the file that an upload begins with."""


@dataclass(frozen=True)
class Segment:
    """A file of an upload, which one stream and no other has written.

    Attributes:
        name: of the file.
        size_bytes: how many of its bytes count. Those behind them were written by a stream that was taken over.
    """

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Upload:
    """A file on its way in.

    Attributes:
        request_id: what it was begun with; an upload without one cannot be gone on with.
        dataset_id: dataset that it will be.
        file_name: what its owner calls it.
        name: name of the dataset for people; empty means the file's.
        format: form of the file when its owner named one.
        size_bytes: of the whole file; 0 where it was not told.
        segments: its bytes in order; `writer` writes the last.
        digest: of its complete blocks, see `ContentDigest`.
        writer: the stream that may write. A later one takes its place.
        complete: whether the file is whole and its dataset exists.
        expires_at: when an incomplete upload is given up; None while it is nowhere noted.
    """

    request_id: str
    dataset_id: UUID
    file_name: str
    name: str
    format: DataFormat | None
    size_bytes: int
    segments: tuple[Segment, ...]
    digest: str
    writer: UUID
    complete: bool = False
    expires_at: datetime | None = None

    @property
    def received_bytes(self) -> int:
        """Bytes that are safely in the store."""
        return sum(segment.size_bytes for segment in self.segments)


class ContentDigest:
    """A digest of bytes that come in order, which can be gone on with without reading those before again.

    Blocks of `BLOCK_BYTES` are chained: after each the digest is SHA-256(digest before + SHA-256(block)), in hex.

    Args:
        blocks: `blocks` of a digest of the same bytes up to a multiple of `BLOCK_BYTES`; empty at the beginning.
    """

    def __init__(self, blocks: str = "") -> None:
        self.blocks = blocks
        """The digest of the complete blocks."""
        self._block = hashlib.sha256()
        self._in_block = 0

    def update(self, data: bytes | bytearray) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            part = view[: BLOCK_BYTES - self._in_block]
            self._block.update(part)
            self._in_block += len(part)
            view = view[len(part) :]
            if self._in_block == BLOCK_BYTES:
                self.blocks = self.hexdigest()
                self._block, self._in_block = hashlib.sha256(), 0

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""
        if self._in_block == 0:
            return self.blocks
        return hashlib.sha256((self.blocks + self._block.hexdigest()).encode()).hexdigest()

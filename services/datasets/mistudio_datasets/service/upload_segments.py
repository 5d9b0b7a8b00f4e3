"""The files of an upload: each stream writes one, behind what counts of those before."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO
from uuid import UUID

from mistudio_datasets.data.incoming.sources import Piece, Source
from mistudio_datasets.domain.uploads import BLOCK_BYTES, UPLOAD_EPOCH, ContentDigest, Segment, Upload
from mistudio_servicekit.storage import Area, Store, disk_full, is_disk_full


def uploaded_source(store: Store, dataset_id: UUID, file_name: str, segments: Iterable[Segment]) -> Source:
    """The file that was uploaded as `segments`, which people call `file_name`."""
    folder = store.epoch(Area.DATASETS, dataset_id, UPLOAD_EPOCH)
    return Source(tuple(Piece(folder / segment.name, segment.size_bytes) for segment in segments), file_name)


class SegmentFile:
    """The file that a stream writes: the last segment of its upload. Blocking.

    Attributes:
        end: bytes of the whole upload as far as they are written.
        digest: of the same bytes.

    Args:
        store: where it lies.
        upload: what it is the last segment of.
    """

    def __init__(self, store: Store, upload: Upload) -> None:
        self._folder = store.epoch(Area.DATASETS, upload.dataset_id, UPLOAD_EPOCH)
        self._before = uploaded_source(store, upload.dataset_id, upload.file_name, upload.segments[:-1])
        self._name = upload.segments[-1].name
        self._file: IO[bytes] | None = None
        self.end = upload.received_bytes
        self.digest = ContentDigest(upload.digest)
        self._start = sum(segment.size_bytes for segment in upload.segments[:-1])

    @property
    def is_open(self) -> bool:
        """Whether there is something to flush."""
        return self._file is not None

    def open(self) -> None:
        """Create the file, and bring the digest to where it begins."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = (self._folder / self._name).open("xb")
        for folder in (self._folder, *self._folder.parents[:2]):
            _sync_folder(folder)
        if rest := self.end % BLOCK_BYTES:
            with self._before.open() as before:
                before.seek(self.end - rest)
                self.digest.update(before.read(rest))

    def write(self, data: bytearray) -> None:
        """Write `data` behind what is written."""
        assert self._file is not None
        left, at = memoryview(data), self.end - self._start
        try:
            while left:
                written = os.pwrite(self._file.fileno(), left, at)
                left, at = left[written:], at + written
        except OSError as error:
            if is_disk_full(error):
                raise disk_full(f"The store ran full after {self.end:,} bytes of the upload") from error
            raise
        self.digest.update(data)
        self.end += len(data)

    def sync(self) -> None:
        """Flush what is written to disk."""
        assert self._file is not None
        os.fdatasync(self._file.fileno())

    def progress(self, upload: Upload) -> Upload:
        """`upload` with all that is written."""
        own = Segment(self._name, self.end - self._start)
        return replace(upload, segments=(*upload.segments[:-1], own), digest=self.digest.blocks)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with suppress(OSError):  # what counts was flushed before
                self._file.close()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

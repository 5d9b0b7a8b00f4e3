"""What a client asks for when it sends a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.uploads import Upload
from mistudio_servicekit.errors import InvalidArgument, MissingField, RequestIdReused, UploadOffsetMismatch
from mistudio_servicekit.requests import MAX_NAME, check_length, check_request_id

CHUNK_BYTES = 1 << 20
"""Most bytes of one piece of an upload."""


@dataclass(frozen=True)
class UploadRequest:
    """A file to take in; see `UploadHeader` for the meaning of each field."""

    file_name: str
    name: str = ""
    format: DataFormat | None = None
    size_bytes: int = 0
    request_id: str = ""
    offset: int = 0

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
        if self.offset < 0 or (self.offset and not self.request_id):
            raise InvalidArgument(
                f"header.offset is {self.offset:,} and header.request_id is {self.request_id!r}",
                next_step="Give 0, or the request_id of an upload that was cut and its received_bytes (see GetUpload)",
                field="header.offset",
            )

    def content(self, digest: str) -> dict[str, Any]:
        """What the request says, its file's bytes by their digest (`ContentDigest`)."""
        return {
            "file_name": self.file_name,
            "name": self.name,
            "format": self.format and self.format.value,
            "digest": digest,
        }

    def require_same(self, upload: Upload) -> None:
        """Raise `RequestIdReused` unless this is another stream of what `upload` was begun as."""
        told, before = self._facts(), _facts(upload)
        if not upload.size_bytes or not self.size_bytes:
            told["size_bytes"] = before["size_bytes"] = ""
        for field, value in told.items():
            if value != before[field]:
                raise RequestIdReused(
                    f"request_id {self.request_id!r} was used before with {field} {before[field]!r}, not {value!r}",
                    next_step="Use a fresh request_id for another file, or give all fields as the first time",
                    field=f"header.{field}",
                    metadata={"request_id": self.request_id},
                )

    def require_offset(self, received_bytes: int) -> None:
        """Raise `UploadOffsetMismatch` unless the request goes on after `received_bytes`."""
        if self.offset != received_bytes:
            raise offset_mismatch(self.request_id, received_bytes, f"header.offset is {self.offset:,}")

    def _facts(self) -> dict[str, str]:
        return {
            "file_name": self.file_name,
            "name": self.name,
            "format": self.format.value if self.format else "",
            "size_bytes": str(self.size_bytes),
        }


def _facts(upload: Upload) -> dict[str, str]:
    begun = UploadRequest(upload.file_name, upload.name, upload.format, upload.size_bytes)
    return begun._facts()


def offset_mismatch(request_id: str, received_bytes: int, problem: str) -> UploadOffsetMismatch:
    """The error for a stream that does not go on where the upload is."""
    return UploadOffsetMismatch(
        f"{problem}, but the store has {received_bytes:,} bytes of upload {request_id!r}",
        next_step=f"Send the rest with offset {received_bytes}, or the whole file with offset 0",
        field="header.offset",
        metadata={"subject": f"upload/{request_id}", "received_bytes": str(received_bytes)},
    )


def wrong_size(size: int, promised: int) -> InvalidArgument:
    """The error for a file of another size than promised."""
    more = "at least " if size > promised else ""
    return InvalidArgument(
        f"The upload has {more}{size:,} bytes, but header.size_bytes promises {promised:,}",
        next_step="Send the whole file and no more, or leave header.size_bytes at 0",
        field="header.size_bytes",
    )

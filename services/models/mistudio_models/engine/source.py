"""Where the engine reads a model's small parts from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from mistudio_servicekit.errors import MalformedFile

MAX_JSON_BYTES = 64 * 1024 * 1024
"""The longest JSON file that is read; shard indexes of the largest models have some ten million bytes."""


class ModelSource(Protocol):
    """A model's repository, read in small pieces: on the Hub, or in a folder."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file by its posix path."""

    def read(self, path: str, start: int, length: int) -> bytes:
        """At most `length` bytes of the file `path` from the offset `start`; fewer where it ends."""


def read_json(source: ModelSource, path: str) -> dict[str, Any]:
    """The JSON object in the file `path`; empty where the repository has no such file.

    Raises:
        MalformedFile: it holds something else.
    """
    size = source.sizes.get(path)
    if size is None:
        return {}
    if size > MAX_JSON_BYTES:
        raise malformed(path, f"has {size:,} bytes, more than any such file needs")
    return parse_object(path, source.read(path, 0, size))


def parse_object(path: str, content: bytes, what: str = "") -> dict[str, Any]:
    """The JSON object in `content`, which is (a part of) the file `path`.

    Args:
        path: of the file, for the error.
        content: bytes of JSON.
        what: begins the error's text, where `content` is but a part of the file.

    Raises:
        MalformedFile: it holds something else, or is nested too deeply to be read.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise malformed(path, f"{what} is not JSON".strip()) from None
    if not isinstance(value, dict):
        raise malformed(path, f"{what} is no JSON object".strip())
    return value


def malformed(path: str, problem: str) -> MalformedFile:
    """The error for a file of a model that cannot be what its name says."""
    return MalformedFile(
        f"The model's file {path!r} {problem}",
        next_step="Choose another revision, or tell the repository's owner",
        metadata={"path": path},
    )

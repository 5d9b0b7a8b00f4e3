"""Footers of Parquet files on the Hub, by small ranges from their ends."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mistudio_datasets.data.incoming.parquet_footers import Footer, needed_bytes, parse_footer
from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import RepoInfo
from mistudio_servicekit.errors import MistudioError

MAX_FILES = 64
"""Most files whose footers are read for one answer."""
MAX_BYTES = 4 << 20
"""Most bytes that are read of them together."""

_TAIL_BYTES = 32 << 10
_THREADS = 16


class HubFooters:
    """Reads footers within the limits.

    Args:
        client: asks the Hub, from several threads.
        repo: the repository at its commit.
        sizes: bytes of every file of the repository.
    """

    def __init__(self, client: HubClient, repo: RepoInfo, sizes: Mapping[str, int]) -> None:
        self._client, self._repo, self._sizes = client, repo, sizes
        self._left_bytes = MAX_BYTES
        self._lock = threading.Lock()

    def read(self, groups: Iterable[Sequence[str]]) -> Mapping[str, Footer]:
        """Footers by file name, of the groups of files that still fit when their turn comes, each whole or not at all.

        A footer that cannot be had is left out: it would only have told more.
        """
        wanted: dict[str, None] = {}
        for group in groups:
            if len(wanted.keys() | set(group)) <= MAX_FILES:
                wanted.update(dict.fromkeys(group))
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="footers") as threads:
            found = dict(zip(wanted, threads.map(self._footer, wanted), strict=True))
        return {name: footer for name, footer in found.items() if footer is not None}

    def _footer(self, name: str) -> Footer | None:
        try:
            tail = self._tail(name, _TAIL_BYTES)
            missing = needed_bytes(tail) - len(tail)
            return parse_footer(self._tail(name, len(tail) + missing) if missing > 0 else tail)
        except MistudioError:
            return None

    def _tail(self, name: str, length: int) -> bytes:
        """The last bytes of the file; none where they do not fit any more."""
        size = self._sizes[name]
        length = min(length, size)
        with self._lock:
            if length > self._left_bytes:
                return b""
            self._left_bytes -= length
        return self._client.read_range(self._repo, name, size - length, length) if length else b""

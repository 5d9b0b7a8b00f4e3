"""A repository's file list as a file system of empty files, in which `datasets` looks for data files.

The library resolves patterns in a folder, once for each of about forty default patterns and for each configuration.
Here nothing is written and the list is walked once a pattern, so repositories of 100,000 files stay usable.
"""

from __future__ import annotations

import io
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import fsspec
from datasets import DownloadConfig
from fsspec.spec import AbstractFileSystem
from fsspec.utils import glob_translate

_PROTOCOL = "mistudio-listing"
_MAGIC = re.compile(r"[*?[]")

BASE = f"{_PROTOCOL}://repository"
"""Address of the listed folder."""


class Listing:
    """The files of a repository.

    Args:
        names: every file, posix paths relative to the repository.
    """

    def __init__(self, names: Sequence[str]) -> None:
        root = BASE.partition("://")[2]
        self._paths = sorted(f"{root}/{name}" for name in names)
        self._known = frozenset(self._paths)

    @property
    def access(self) -> DownloadConfig:
        """What `datasets` needs to look into this listing."""
        return DownloadConfig(storage_options={_PROTOCOL: {"listing": self}}, disable_tqdm=True)

    def has(self, path: str) -> bool:
        """Whether there is a file of this path."""
        return path in self._known

    def matching(self, pattern: str) -> list[str]:
        """Paths of the files that match a glob, in order."""
        magic = _MAGIC.search(pattern)
        if magic is None:
            return [pattern] if self.has(pattern) else []
        start = pattern[: magic.start()]
        matches = re.compile(glob_translate(pattern)).match
        first, behind = bisect_left(self._paths, start), bisect_left(self._paths, start + "\U0010ffff")
        return [path for path in self._paths[first:behind] if matches(path)]


def name_of(url: str) -> str:
    """The file's name in the repository, from what `datasets` calls it."""
    return url.removeprefix(f"{BASE}/")


class _ListingFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec publishes no types
    """The listing as `fsspec` knows file systems; made anew for every question, it holds nothing itself."""

    protocol = _PROTOCOL
    cachable = False

    def __init__(self, listing: Listing, **options: Any) -> None:
        super().__init__(**options)
        self._listing = listing

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> Mapping[str, Mapping[str, Any]]:
        """The files that match, with what is known of them."""
        return {each: self.info(each) for each in self._listing.matching(self._strip_protocol(path))}

    def info(self, path: str, **_: Any) -> Mapping[str, Any]:
        """Name and type of a file; its size is not told."""
        name = self._strip_protocol(path)
        if not self._listing.has(name):
            raise FileNotFoundError(name)
        return {"name": name, "type": "file", "size": 0}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        return io.BytesIO()


fsspec.register_implementation(_PROTOCOL, _ListingFileSystem, clobber=True)

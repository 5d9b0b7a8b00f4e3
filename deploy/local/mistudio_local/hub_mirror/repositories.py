"""Repositories of the mirror: folders seen as the Hub sees them, with commits, blob ids and large-file checksums."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, unquote

DEFAULT_REVISION = "main"
LARGE_FILE_BYTES = 10 * 1024 * 1024
LARGE_FILE_SUFFIXES = frozenset(
    {".arrow", ".bin", ".gguf", ".gz", ".h5", ".model", ".msgpack", ".npy", ".npz", ".onnx", ".parquet", ".pt", ".pth"}
    | {".safetensors", ".tar", ".zip", ".zst"}
)
_SETTINGS_FILE = ".mirror.json"
_REVISIONS_FOLDER = ".revisions"
_READ_BYTES = 1024 * 1024


class RepoKind(StrEnum):
    """A kind of repository, as it is written in the Hub's API paths."""

    MODELS = "models"
    DATASETS = "datasets"


@dataclass(frozen=True)
class Settings:
    """What `.mirror.json` may say of a repository.

    Attributes:
        gated: "auto" or "manual" where terms must be accepted, else empty.
        private: whether only `readers` may know of the repository.
        readers: user names that may read a gated or private repository.
        tags: names below `.revisions` that are tags; all others are branches.
    """

    gated: str = ""
    private: bool = False
    readers: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    @classmethod
    def read(cls, folder: Path) -> Settings:
        """The settings of the repository in `folder`; defaults where it has none."""
        path = folder / _SETTINGS_FILE
        if not path.is_file():
            return cls()
        values = json.loads(path.read_text())
        return cls(
            gated=values.get("gated") or "",
            private=bool(values.get("private")),
            readers=frozenset(values.get("readers", ())),
            tags=frozenset(values.get("tags", ())),
        )


@dataclass(frozen=True)
class Digests:
    """Checksums of one file's bytes: its git blob id and its sha256, in hex."""

    git_sha1: str
    sha256: str


@dataclass(frozen=True)
class MirrorFile:
    """One file of a snapshot.

    Attributes:
        path: posix path inside the repository.
        local: where its bytes are.
        size: in bytes.
        digests: of its bytes.
        large: whether the Hub would keep it in large-file storage (LFS).
    """

    path: str
    local: Path
    size: int
    digests: Digests
    large: bool

    @property
    def pointer(self) -> bytes:
        """The pointer file that git holds in place of a large file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.digests.sha256}\nsize {self.size}\n"
        return text.encode()

    @property
    def oid(self) -> str:
        """The git blob id: of the file, or of its pointer where it is large."""
        return git_blob_id(self.pointer) if self.large else self.digests.git_sha1

    @property
    def etag(self) -> str:
        """What the Hub sends as `ETag`: sha256 of a large file, git blob id of others."""
        return self.digests.sha256 if self.large else self.digests.git_sha1


@dataclass(frozen=True)
class Snapshot:
    """All files of a repository at one commit, by path; the commit id is derived from their contents."""

    commit: str
    files: Mapping[str, MirrorFile]

    @classmethod
    def of(cls, files: list[MirrorFile]) -> Snapshot:
        """The snapshot of `files`."""
        listing = "".join(f"{file.oid} {file.path}\n" for file in sorted(files, key=lambda file: file.path))
        commit = hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()
        return cls(commit, {file.path: file for file in sorted(files, key=lambda file: file.path)})


def git_blob_id(content: bytes) -> str:
    """The id that git gives a blob with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class DigestCache:
    """Checksums of files, kept in memory as long as path, size and modification time stay the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], Digests] = {}
        self._lock = threading.Lock()

    def of(self, path: Path, status: os.stat_result) -> Digests:
        """The checksums of the file at `path`, which `status` describes."""
        key = (str(path), status.st_size, status.st_mtime_ns)
        with self._lock:
            if key not in self._known:
                self._known[key] = _digests(path, status.st_size)
            return self._known[key]


def _digests(path: Path, size: int) -> Digests:
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    content = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            blob.update(chunk)
            content.update(chunk)
    return Digests(blob.hexdigest(), content.hexdigest())


class Repository:
    """One repository: a folder, its settings and its revisions."""

    def __init__(self, kind: RepoKind, repo_id: str, folder: Path, digests: DigestCache) -> None:
        self.kind = kind
        self.repo_id = repo_id
        self.settings = Settings.read(folder)
        self._folder = folder
        self._digests = digests

    def revisions(self) -> dict[str, Snapshot]:
        """Every branch and tag with its snapshot; `main` first."""
        folder = self._folder / _REVISIONS_FOLDER
        others = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        return {
            DEFAULT_REVISION: self._read(self._folder),
            **{unquote(name): self._read(folder / name) for name in others},
        }

    def snapshot(self, revision: str) -> Snapshot | None:
        """The snapshot that a branch, tag or commit id names, or None."""
        if revision == DEFAULT_REVISION:
            return self._read(self._folder)
        branch = self._folder / _REVISIONS_FOLDER / quote(revision, safe="")
        if revision not in (".", "..") and branch.is_dir():
            return self._read(branch)
        return next((snapshot for snapshot in self.revisions().values() if snapshot.commit == revision), None)

    def _read(self, folder: Path) -> Snapshot:
        return Snapshot.of([self._file(folder, path) for path in _walk(folder)])

    def _file(self, folder: Path, path: Path) -> MirrorFile:
        status = path.stat()
        large = status.st_size > LARGE_FILE_BYTES or path.suffix in LARGE_FILE_SUFFIXES
        return MirrorFile(
            path.relative_to(folder).as_posix(), path, status.st_size, self._digests.of(path, status), large
        )


def _walk(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        if base == str(folder):
            folders[:] = [name for name in folders if name != _REVISIONS_FOLDER]
        for name in names:
            if name != _SETTINGS_FILE:
                yield Path(base, name)


class Repositories:
    """All repositories below the mirror's root.

    Snapshots are remembered by commit, because clients resolve a revision once and then ask for its files one by one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._digests = DigestCache()
        self._snapshots: dict[tuple[RepoKind, str, str], Snapshot] = {}

    def users(self) -> dict[str, str]:
        """User name by token."""
        path = self._root / "users.json"
        if not path.is_file():
            return {}
        return {str(token): str(name) for token, name in json.loads(path.read_text()).items()}

    def find(self, kind: RepoKind, repo_id: str) -> Repository | None:
        """The repository called `repo_id` (`owner/name`), or None."""
        owner, _, name = repo_id.partition("/")
        if not name or "/" in name or {owner, name} & {".", ".."}:
            return None
        folder = self._root / kind / owner / name
        return Repository(kind, repo_id, folder, self._digests) if folder.is_dir() else None

    def snapshot(self, repository: Repository, revision: str) -> Snapshot | None:
        """What `repository` holds at `revision` (branch, tag or commit id), or None."""
        known = self._snapshots.get((repository.kind, repository.repo_id, revision))
        if known is not None:
            return known
        snapshot = repository.snapshot(revision)
        if snapshot is not None:
            self._snapshots[repository.kind, repository.repo_id, snapshot.commit] = snapshot
        return snapshot

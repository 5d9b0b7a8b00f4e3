"""A mirror with small repositories, and a download with small blocks, so that every path is walked within moments."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mistudio_hub.metadata import HubClient
from mistudio_hub.progress import Progress
from mistudio_hub.repository import RepoFile, RepoType
from mistudio_hub.transfer import TransferOptions, download
from mistudio_local.hub_mirror import HubMirror
from mistudio_local.hub_mirror.background import mirror_in_background
from mistudio_servicekit.reservations import Room
from mistudio_servicekit.storage import Store

KIB = 1024
BLOCK_BYTES = 64 * KIB
STREAMS = 4
MODEL = "owner/model"
GATED = "owner/gated"
PRIVATE = "owner/private"
OPTIONS = TransferOptions(streams=STREAMS, block_bytes=BLOCK_BYTES, stall_seconds=60, backoff_seconds=0.01, retries=3)


@dataclass
class Site:
    """A mirror, what it serves, and a download from it into a folder."""

    mirror: HubMirror
    root: Path
    folder: Path
    reports: list[Progress] = field(default_factory=list)
    needed: list[int] = field(default_factory=list)

    def served(self, repo_id: str = MODEL) -> dict[str, bytes]:
        """The files of a repository by path."""
        base = self.root / "models" / repo_id
        hidden = (".mirror.json", ".revisions")
        return {
            path.relative_to(base).as_posix(): path.read_bytes()
            for path in base.rglob("*")
            if path.is_file() and path.relative_to(base).parts[0] not in hidden
        }

    def downloaded(self) -> dict[str, bytes]:
        """Everything in the folder by path."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file()
        }

    def download(
        self,
        repo_id: str = MODEL,
        *,
        token: str | None = None,
        check: Callable[[], None] = lambda: None,
        options: TransferOptions = OPTIONS,
        files: Sequence[RepoFile] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Download the repository at `main`."""
        with HubClient(self.mirror.url, token) as client:
            repo = client.repo_info(RepoType.MODEL, repo_id)
            download(
                client.source(repo),
                client.tree(repo) if files is None else files,
                folder or self.folder,
                reserve=self._reserve,
                progress=self.reports.append,
                check=check,
                options=options,
            )

    @contextmanager
    def _reserve(self, needed_bytes: int, what: str) -> Iterator[Room]:
        """Keeps in mind how much room was asked for."""
        self.needed.append(needed_bytes)
        with Store(self.folder.parent).reserve(needed_bytes, what) as room:
            yield room


def _write_repository(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Repositories: an open one with two revisions, a gated one and a private one; two users."""
    noise = random.Random(7)
    root = tmp_path / "root"
    models = root / "models"
    _write_repository(
        models / MODEL,
        {
            "README.md": b"# A model\n",
            "config.json": b"{}",
            "empty.txt": b"",
            "deep/er/notes with space & ü.txt": b"notes",
            "model.safetensors": noise.randbytes(20 * BLOCK_BYTES + 123),
            "other.safetensors": noise.randbytes(3 * BLOCK_BYTES),
            ".revisions/v1/config.json": b'{"old": true}',
            ".mirror.json": json.dumps({"tags": ["v1"]}).encode(),
        },
    )
    _write_repository(
        models / GATED,
        {
            "config.json": b"{}",
            "model.safetensors": noise.randbytes(2 * BLOCK_BYTES),
            ".mirror.json": json.dumps({"gated": "manual", "readers": ["ada"]}).encode(),
        },
    )
    _write_repository(
        models / PRIVATE,
        {
            "model.safetensors": noise.randbytes(2 * BLOCK_BYTES),
            ".mirror.json": json.dumps({"private": True, "readers": ["ada"]}).encode(),
        },
    )
    (root / "users.json").write_text(json.dumps({"hf_ada_secret": "ada", "hf_bob_secret": "bob"}))
    return root


@pytest.fixture
def site(root: Path, tmp_path: Path) -> Iterator[Site]:
    """A mirror of those repositories."""
    with mirror_in_background(root, page_entries=2) as mirror:
        yield Site(mirror, root, tmp_path / "folder")

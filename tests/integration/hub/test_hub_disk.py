"""Downloads onto a full disk: a real one, of a few hundred kilobytes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import RepoType
from mistudio_hub.transfer import download
from mistudio_servicekit.errors import DiskFull
from mistudio_servicekit.storage import Store


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 512 KiB, less than the model."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small file system is not allowed here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_too_little_room_is_reported_before_the_first_byte(site, small_disk: Path) -> None:
    with HubClient(site.mirror.url) as client, pytest.raises(DiskFull, match="owner/model"):
        repo = client.repo_info(RepoType.MODEL, "owner/model")
        download(
            client.source(repo),
            client.tree(repo),
            small_disk / "folder",
            require_free=Store(small_disk).require_free,
            progress=lambda report: None,
            check=lambda: None,
        )
    assert site.mirror.faults.bytes_sent() == 0


def test_a_disk_that_fills_up_meanwhile_is_reported_as_full(site, small_disk: Path) -> None:
    with pytest.raises(DiskFull, match="owner/model"):
        site.download(folder=small_disk / "folder")

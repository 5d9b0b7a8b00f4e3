"""Downloads onto a full disk: a real one, of a few hundred kilobytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import RepoType
from mistudio_hub.transfer import download
from mistudio_servicekit.errors import DiskFull
from mistudio_servicekit.storage import Store
from tests.small_disk import small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with less room than the model takes."""
    with small_disk(tmp_path / "disk", "512k") as disk:
        yield disk


def test_too_little_room_is_reported_before_the_first_byte(site, disk: Path) -> None:
    with HubClient(site.mirror.url) as client, pytest.raises(DiskFull, match="owner/model"):
        repo = client.repo_info(RepoType.MODEL, "owner/model")
        download(
            client.source(repo),
            client.tree(repo),
            disk / "folder",
            reserve=Store(disk).reserve,
            progress=lambda report: None,
            check=lambda: None,
        )
    assert site.mirror.faults.bytes_sent() == 0


def test_a_disk_that_fills_up_meanwhile_is_reported_as_full(site, disk: Path) -> None:
    with pytest.raises(DiskFull, match="owner/model"):
        site.download(folder=disk / "folder")

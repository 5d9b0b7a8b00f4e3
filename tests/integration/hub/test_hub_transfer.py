"""Downloads that go well, and those that take over what an earlier attempt left."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mistudio_hub.parts import PARTS_FOLDER
from mistudio_hub.progress import Progress
from mistudio_hub.repository import RepoFile
from mistudio_local.hub_mirror import Body
from mistudio_servicekit.errors import UnsafePath

MODEL_FILE = "model.safetensors"
BLOCK_BYTES = 64 * 1024


class Interrupted(Exception):
    """What a test's check raises."""


def stop_after(reports: list[Progress], done_bytes: int) -> Callable[[], None]:
    """A check that ends a download once so many bytes are done."""

    def check() -> None:
        if reports and reports[-1].done_bytes >= done_bytes:
            raise Interrupted

    return check


def interrupt(site, share: float = 0.5) -> int:
    """Begin a download, slowly, and end it about half way; returns how much of it was done."""
    size = sum(map(len, site.served().values()))
    site.mirror.faults.bodies.append(Body(times=None, bytes_per_second=1_000_000))
    with pytest.raises(Interrupted):
        site.download(check=stop_after(site.reports, int(size * share)))
    site.mirror.faults.clear()
    done_bytes: int = site.reports[-1].done_bytes
    return done_bytes


def test_all_files_arrive_exactly_and_nothing_else_is_left(site) -> None:
    site.download()
    assert site.downloaded() == site.served()
    assert not (site.folder / PARTS_FOLDER).exists()


def test_every_byte_is_fetched_once(site) -> None:
    site.download()
    assert site.mirror.faults.bytes_sent() == sum(map(len, site.served().values()))


def test_the_last_report_says_that_all_is_done_and_none_goes_back(site) -> None:
    site.download()
    total = sum(map(len, site.served().values()))
    done = [report.done_bytes for report in site.reports]
    assert done == sorted(done)
    last = site.reports[-1]
    assert (last.done_bytes, last.total_bytes) == (total, total)
    assert (last.done_files, last.total_files) == (len(site.served()), len(site.served()))
    assert last.bytes_per_second > 0


def test_room_for_exactly_the_missing_bytes_is_asked_for(site) -> None:
    done = interrupt(site)
    site.download()
    total = sum(map(len, site.served().values()))
    assert site.needed[0] == total
    assert total - done <= site.needed[1] < total


def test_a_resumed_download_fetches_only_what_is_missing(site) -> None:
    done = interrupt(site)
    total = sum(map(len, site.served().values()))
    site.mirror.faults.requests.clear()
    site.reports.clear()
    site.download()
    assert site.downloaded() == site.served()
    assert site.mirror.faults.bytes_sent() == site.needed[1]
    assert site.mirror.faults.bytes_sent() <= total - done + 4 * BLOCK_BYTES
    assert site.reports[0].done_bytes >= done - 4 * BLOCK_BYTES


def test_a_resumed_download_works_in_a_renamed_folder(site, tmp_path: Path) -> None:
    interrupt(site)
    site.folder.rename(tmp_path / "next")
    site.folder = tmp_path / "next"
    site.mirror.faults.requests.clear()
    site.download()
    assert site.downloaded() == site.served()
    assert site.mirror.faults.bytes_sent() < sum(map(len, site.served().values()))


def test_complete_files_are_not_fetched_again(site) -> None:
    site.download()
    site.mirror.faults.requests.clear()
    site.download()
    assert site.downloaded() == site.served()
    assert site.mirror.faults.bytes_sent() == 0


def test_a_complete_file_that_was_damaged_meanwhile_is_fetched_again(site) -> None:
    site.download()
    damaged = site.folder / MODEL_FILE
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    site.download()
    assert site.downloaded() == site.served()


def test_bytes_on_disk_that_were_damaged_meanwhile_are_never_accepted(site) -> None:
    interrupt(site)
    for part in (site.folder / PARTS_FOLDER).glob("*.part"):
        part.write_bytes(bytes(part.stat().st_size))
    site.download()
    assert site.downloaded() == site.served()


def test_a_journal_that_claims_more_than_was_written_is_not_believed(site) -> None:
    interrupt(site)
    for journal in (site.folder / PARTS_FOLDER).glob("*.ranges"):
        journal.write_bytes(journal.read_bytes() + b"0 99999999\nnonsense\n-1 5\n0 13")
    site.download()
    assert site.downloaded() == site.served()


def test_what_was_left_of_another_commit_is_not_taken(site) -> None:
    interrupt(site)
    changed = site.root / "models/owner/model" / MODEL_FILE
    changed.write_bytes(random.Random(1).randbytes(changed.stat().st_size))
    site.download()
    assert site.downloaded() == site.served()


_OUTSIDE = ["../outside", "/etc/outside", "a/../../outside", "a\\b", "", ".", "a\0b"]
_NO_NAMES = ["x" * 256, "ä" * 128, "a/" * 1500 + "b", "\ud800"]
_NOBODYS = [".parts/0123456789abcdef0123456789abcdef.ranges", ".parts", "./.parts/x"]


@pytest.mark.parametrize("path", [*_OUTSIDE, *_NO_NAMES, *_NOBODYS], ids=ascii)
def test_a_file_name_that_can_have_no_place_is_refused_before_anything_is_fetched(site, path: str) -> None:
    with pytest.raises(UnsafePath) as refused:
        site.download(files=[RepoFile(path, 5, "0" * 40)])
    assert not site.folder.exists()
    assert site.mirror.faults.bytes_sent() == 0
    assert json.dumps(refused.value.to_record()).isprintable()
    assert "\\u0000" not in json.dumps(refused.value.to_record()["metadata"])


@pytest.mark.parametrize("paths", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("x/y/z", "x/y"), ("a/b", "a//b")])
def test_two_files_in_one_place_are_refused_before_anything_is_fetched(site, paths: tuple[str, str]) -> None:
    with pytest.raises(UnsafePath, match="where another file or folder is"):
        site.download(files=[RepoFile(path, 5, "0" * 40) for path in paths])
    assert not site.folder.exists()


@pytest.mark.parametrize("name", ["deep", "config.json"])
def test_a_link_that_leads_out_of_the_folder_is_not_followed(site, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    site.folder.mkdir()
    (site.folder / name).symlink_to(outside if name == "deep" else outside / "file")
    with pytest.raises(UnsafePath, match="through a link"):
        site.download()
    assert list(outside.iterdir()) == []
    assert site.mirror.faults.bytes_sent() == 0


def test_a_repository_without_files_is_complete_at_once(site) -> None:
    site.download(files=[])
    assert site.downloaded() == {}

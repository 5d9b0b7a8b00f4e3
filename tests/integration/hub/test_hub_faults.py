"""Downloads from a Hub that misbehaves."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from mistudio_hub.repository import RepoFile
from mistudio_hub.transfer import TransferOptions
from mistudio_local.hub_mirror import Body, Listener, Refusal
from mistudio_servicekit.errors import ChecksumMismatch, EntryNotFound, HubRateLimited, HubUnavailable, MistudioError

from .conftest import OPTIONS

BLOCK_BYTES = 64 * 1024
CONTENT = "*/resolve/*"


IMPATIENT = replace(OPTIONS, stall_seconds=1.0)


def assert_complete(site, options: TransferOptions = OPTIONS) -> None:
    """The download succeeds and brings exactly what is served."""
    site.download(options=options)
    assert site.downloaded() == site.served()


def test_a_connection_that_breaks_in_a_body_is_resumed_where_it_broke(site) -> None:
    site.mirror.faults.bodies.append(Body(times=6, cut_after=10_000, path="*model.safetensors"))
    assert_complete(site)
    assert site.mirror.faults.bytes_sent() == sum(map(len, site.served().values()))


def test_a_connection_that_breaks_before_the_first_byte_is_tried_again(site) -> None:
    site.mirror.faults.bodies.append(Body(times=2, cut_after=0))
    assert_complete(site)


def test_a_server_that_goes_silent_in_a_body_is_asked_again(site) -> None:
    site.mirror.faults.bodies.append(Body(times=3, stall_after=1_000, path="*model.safetensors"))
    assert_complete(site, IMPATIENT)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
@pytest.mark.parametrize("listener", list(Listener))
def test_a_passing_server_error_is_survived(site, status: int, listener: Listener) -> None:
    site.mirror.faults.refusals.append(Refusal(status, times=2, path=CONTENT, listener=listener))
    assert_complete(site)


def test_a_lasting_server_error_is_reported_as_unavailable(site) -> None:
    site.mirror.faults.refusals.append(Refusal(503, times=None, path=CONTENT))
    with pytest.raises(HubUnavailable, match="503") as failure:
        site.download()
    assert failure.value.transient


def test_a_lasting_silence_is_reported_as_unavailable(site) -> None:
    site.mirror.faults.bodies.append(Body(times=None, stall_after=0))
    with pytest.raises(HubUnavailable):
        site.download(options=IMPATIENT)


def test_a_short_retry_after_is_waited_for(site) -> None:
    site.mirror.faults.refusals.append(Refusal(429, times=1, retry_after="1", path=CONTENT))
    begun = time.monotonic()
    assert_complete(site)
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize(("status", "error"), [(429, HubRateLimited), (503, HubUnavailable)])
def test_a_long_retry_after_ends_the_download_and_is_passed_on(site, status: int, error: type[MistudioError]) -> None:
    site.mirror.faults.refusals.append(Refusal(status, times=None, retry_after="120", path=CONTENT))
    with pytest.raises(error) as failure:
        site.download()
    assert failure.value.retry_after_seconds == 120


def test_a_corrupted_byte_is_noticed_and_the_file_fetched_again(site) -> None:
    site.mirror.faults.bodies.append(Body(times=1, corrupt_at=5 * BLOCK_BYTES + 7, path="*model.safetensors"))
    assert_complete(site)
    done = [report.done_bytes for report in site.reports]
    assert done == sorted(done)


def test_a_corrupted_byte_in_a_small_file_is_noticed_by_its_git_id(site) -> None:
    site.mirror.faults.bodies.append(Body(times=1, corrupt_at=0, path="*config.json"))
    assert_complete(site)


def test_lasting_corruption_is_an_error_and_leaves_no_such_file(site) -> None:
    site.mirror.faults.bodies.append(Body(times=None, corrupt_at=100, path="*model.safetensors"))
    with pytest.raises(ChecksumMismatch, match=r"model\.safetensors"):
        site.download()
    assert "model.safetensors" not in site.downloaded()


def test_a_file_of_another_size_than_listed_is_an_error(site) -> None:
    wrong = RepoFile("model.safetensors", 40 * BLOCK_BYTES, "0" * 40, "0" * 64)
    with pytest.raises(ChecksumMismatch, match=r"model\.safetensors"):
        site.download(files=[wrong])


def test_a_file_that_is_gone_is_named(site) -> None:
    with pytest.raises(EntryNotFound, match=r"nowhere\.bin"):
        site.download(files=[RepoFile("nowhere.bin", 5, "0" * 40)])


def test_links_that_run_out_are_renewed(site) -> None:
    site.mirror.faults.bodies.append(Body(times=None, bytes_per_second=1_000_000, path="*model.safetensors"))
    expired = False

    def check() -> None:
        nonlocal expired
        if not expired and site.reports and site.reports[-1].done_bytes > 4 * BLOCK_BYTES:
            site.mirror.expire_links()
            expired = True

    site.download(check=check)
    assert expired
    assert site.downloaded() == site.served()
    assert 403 in {record.status for record in site.mirror.faults.requests}

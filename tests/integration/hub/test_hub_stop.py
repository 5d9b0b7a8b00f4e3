"""Downloads that are cancelled or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from mistudio_hub.transfer import TransferOptions
from mistudio_local.hub_mirror import Body, Refusal
from mistudio_servicekit.errors import JobCancelled

BLOCK_BYTES = 64 * 1024
STREAMS = 4
SOON_SECONDS = 10  # of the 20 and 60 that there would be to wait otherwise
PATIENT = TransferOptions(streams=STREAMS, block_bytes=BLOCK_BYTES, stall_seconds=60)

_CHILD = """
import sys
from pathlib import Path
from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import RepoType
from mistudio_hub.transfer import TransferOptions, download
from mistudio_servicekit.storage import Store
url, folder = sys.argv[1:]
with HubClient(url) as client:
    repo = client.repo_info(RepoType.MODEL, "owner/model")
    download(
        client.source(repo), client.tree(repo), Path(folder),
        reserve=Store(Path(folder).parent).reserve,
        progress=lambda report: print(report.done_bytes, flush=True),
        check=lambda: None,
        options=TransferOptions(streams=4, record_bytes=65536),
    )
"""


def cancel_when(condition: Callable[[], bool], moment: list[float]) -> Callable[[], None]:
    """A check that cancels once `condition` holds, and notes when."""

    def check() -> None:
        if condition():
            moment.append(time.monotonic())
            raise JobCancelled("Cancelled", next_step="Nothing")

    return check


def cancelled_within(site, condition: Callable[[], bool]) -> float:
    """Seconds from the cancel to the end of the download."""
    moment: list[float] = []
    with pytest.raises(JobCancelled):
        site.download(check=cancel_when(condition, moment), options=PATIENT)
    return time.monotonic() - moment[0]


def test_a_cancel_ends_a_stalled_download_at_once(site) -> None:
    site.mirror.faults.bodies.append(Body(times=None, stall_after=10))
    stalled = lambda: len(site.mirror.faults.requests) > STREAMS + 3  # noqa: E731  # reads better beside its use
    assert cancelled_within(site, stalled) < SOON_SECONDS


def test_a_cancel_ends_the_wait_for_a_retry_at_once(site) -> None:
    site.mirror.faults.refusals.append(Refusal(429, times=None, retry_after="20", path="*/resolve/*"))
    refused = lambda: any(record.status == 429 for record in site.mirror.faults.requests)  # noqa: E731  # as above
    assert cancelled_within(site, refused) < SOON_SECONDS


def test_a_cancel_leaves_no_thread_behind(site) -> None:
    before = set(threading.enumerate())
    site.mirror.faults.bodies.append(Body(times=None, stall_after=10))
    cancelled_within(site, lambda: len(site.mirror.faults.requests) > STREAMS + 3)
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("hub-stream")]
    for thread in left:
        thread.join(timeout=100)
    assert not [thread for thread in left if thread.is_alive()]


def test_after_a_kill_each_stream_fetches_little_more_than_its_unrecorded_bytes_again(site) -> None:
    site.mirror.faults.bodies.append(Body(times=None, bytes_per_second=2_000_000))
    total = sum(map(len, site.served().values()))
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, site.mirror.url, str(site.folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    done = next(value for value in map(int, child.stdout) if value > total // 2)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert "model.safetensors" not in site.downloaded()
    site.mirror.faults.clear()
    site.mirror.faults.requests.clear()
    site.download()
    assert site.downloaded() == site.served()
    assert site.mirror.faults.bytes_sent() <= total - done + STREAMS * 2 * BLOCK_BYTES

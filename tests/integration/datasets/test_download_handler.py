"""The download's handler by itself: stopped anywhere and run again, it leaves what an undisturbed run leaves."""

import hashlib
from pathlib import Path

import pytest

from mistudio_datasets.jobs import download
from mistudio_jobs.testing import RecordingContext
from mistudio_local.hub_mirror import Body
from mistudio_servicekit.errors import DiskFull, JobCancelled
from mistudio_servicekit.storage import Store

from .served_hub import Hub

COMMIT = "main"


def _context(folder: Path, hub: Hub, **more: object) -> RecordingContext:
    folder.mkdir(exist_ok=True)
    settings = {download.HUB_ENDPOINT: hub.mirror.url}
    return RecordingContext(folder, Store(folder.parent), settings=settings, **more)  # type: ignore[arg-type]  # passed on


def _payload(repo_id: str, config: str = "") -> dict[str, object]:
    return {"repo_id": repo_id, "commit": COMMIT, "config": config, "splits": []}


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_run_stopped_while_converting_is_made_good_by_the_next(tmp_path: Path, hub: Hub) -> None:
    lines = hub.root / "datasets" / hub.lines / "a.jsonl"
    lines.unlink()
    lines.write_text('{"text": "good"}\n{broken\n' * 5000)
    whole = _context(tmp_path / "whole", hub)
    result = download.run(_payload(hub.lines, "a"), whole)
    assert (result["rows"], result["damaged_lines"]) == (5000, 5000)
    fetching = sum(report[3] == "downloading" for report in whole.reports)
    for stop in (fetching + 5, whole.checks - 2):
        folder = tmp_path / f"stopped-{stop}"
        with pytest.raises(JobCancelled):
            download.run(_payload(hub.lines, "a"), _context(folder, hub, cancel_after=stop))
        assert download.run(_payload(hub.lines, "a"), _context(folder, hub)) == result
        assert _digests(folder) == _digests(whole.folder)


def test_a_run_that_was_cut_fetches_only_the_rest(tmp_path: Path, hub: Hub) -> None:
    hub.faults.bodies.append(Body(times=None, path="*train.parquet", bytes_per_second=20 << 20))
    with pytest.raises(JobCancelled):
        download.run(_payload(hub.big), _context(tmp_path / "epoch", hub, cancel_after=20))
    fetched = hub.faults.bytes_sent("*train.parquet")
    assert fetched > 0
    hub.faults.clear()
    again = _context(tmp_path / "epoch", hub)
    download.run(_payload(hub.big), again)
    stages = list(dict.fromkeys(report[3] for report in again.reports))
    assert stages == ["downloading", "reading"]
    assert again.reports[0][1] == (hub.root / "datasets" / hub.big / "train.parquet").stat().st_size


def test_a_full_store_is_told_before_the_first_byte(tmp_path: Path, hub: Hub) -> None:
    context = _context(tmp_path / "epoch", hub)
    context.store = Store(tmp_path / "store", quota_bytes=1000)
    with pytest.raises(DiskFull, match=hub.big):
        download.run(_payload(hub.big), context)
    assert hub.faults.bytes_sent("*train.parquet") == 0

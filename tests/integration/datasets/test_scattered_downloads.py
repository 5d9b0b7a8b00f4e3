"""A repository of more than a thousand tiny Parquet files, from the mirror to a few files with the same rows."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.jobs import download
from mistudio_jobs.testing import RecordingContext
from mistudio_servicekit.errors import JobCancelled
from mistudio_servicekit.storage import Store

from .served_hub import Hub

REPOSITORY = "tiny/scattered"
FILES = 1200


@pytest.fixture
def scattered(hub: Hub) -> int:
    """The mirror serves the repository; its bytes."""
    folder = hub.root / "datasets" / REPOSITORY / "data"
    folder.mkdir(parents=True)
    for number in range(FILES):
        pq.write_table(pa.table({"n": [2 * number, 2 * number + 1]}), folder / f"train-{number:05d}.parquet")
    return sum(path.stat().st_size for path in folder.iterdir())


def context(folder: Path, hub: Hub, cancel_after: int | None = None) -> RecordingContext:
    folder.mkdir(exist_ok=True)
    settings = {download.HUB_ENDPOINT: hub.mirror.url}
    return RecordingContext(folder, Store(folder.parent), settings=settings, cancel_after=cancel_after)


def run(where: RecordingContext) -> dict[str, object]:
    return dict(download.run({"repo_id": REPOSITORY, "commit": "main", "config": "", "splits": []}, where))


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_tiny_files_arrive_as_few_with_true_progress(tmp_path: Path, hub: Hub, scattered: int) -> None:
    whole = context(tmp_path / "epoch", hub)
    result = run(whole)
    (split,) = read_layout(whole.folder).splits
    assert (result["rows"], len(split.files)) == (2 * FILES, 1)
    assert pq.read_table(whole.folder / split.files[0])["n"].to_pylist() == list(range(2 * FILES))
    assert list(dict.fromkeys(report[3] for report in whole.reports)) == ["downloading", "reading", "compacting"]
    assert [report[0] for report in whole.reports] == sorted(report[0] for report in whole.reports)
    assert whole.reports[-1][:2] == (3 * scattered, 3 * scattered)
    assert int(str(result["size_bytes"])) <= 1.1 * scattered


def test_a_run_stopped_while_compacting_is_made_good_by_the_next(tmp_path: Path, hub: Hub, scattered: int) -> None:
    whole = context(tmp_path / "whole", hub)
    result = run(whole)
    with pytest.raises(JobCancelled):
        run(context(tmp_path / "stopped", hub, cancel_after=whole.checks - 100))
    assert hub.faults.bytes_sent("*.parquet") == 2 * scattered
    assert run(context(tmp_path / "stopped", hub)) == result
    assert hub.faults.bytes_sent("*.parquet") == 2 * scattered
    assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")

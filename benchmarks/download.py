"""Download of one 600 MB file through the mirror: ours, verified, against `snapshot_download`, which does not verify.

The mirror runs in a process of its own, and so does each download; all read and write the same disk. Each round runs
all contenders once, so that a busy machine disturbs them alike; `curl` shows what the mirror and the disk can do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Row, median, show

REPO = "bench/big"
FILE = "model.safetensors"
FILE_BYTES = 600_000_000
ROUNDS = 5

_DOWNLOAD = """
import sys, time
from pathlib import Path
from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import RepoType
from mistudio_hub.transfer import download
from mistudio_servicekit.storage import Store
begun = time.perf_counter()
with HubClient(sys.argv[1]) as client:
    repo = client.repo_info(RepoType.MODEL, sys.argv[2])
    download(client.source(repo), client.tree(repo), Path(sys.argv[3]),
             reserve=Store(Path(sys.argv[3]).parent).reserve, progress=lambda report: None, check=lambda: None)
print(time.perf_counter() - begun)
"""
_SNAPSHOT = """
import sys, time
from huggingface_hub import snapshot_download
begun = time.perf_counter()
snapshot_download(sys.argv[2], endpoint=sys.argv[1], cache_dir=sys.argv[3])
print(time.perf_counter() - begun)
"""
_CURL = """
import subprocess, sys, time
url = f"{sys.argv[1]}/{sys.argv[2]}/resolve/main/model.safetensors"
begun = time.perf_counter()
subprocess.run(["curl", "-sfL", "--create-dirs", "-o", f"{sys.argv[3]}/file", url], check=True)
print(time.perf_counter() - begun)
"""
OURS, PEER, LIMIT = "sha256 verified", "snapshot_download, unverified", "curl, unverified"


def main() -> None:
    """Measure, print, and write `benchmarks/results/download.json`."""
    show("download", measure())


def measure() -> list[Row]:
    """Seconds of a download, beside the peer's and the limit's."""
    return _rows(_seconds())


def _seconds() -> dict[str, list[float]]:
    """Seconds of each round of ours, the peer, and the limit where `curl` is installed."""
    contenders = {OURS: _DOWNLOAD, PEER: _SNAPSHOT}
    if shutil.which("curl"):
        contenders[LIMIT] = _CURL
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        _write_repository(Path(folder, "root"))
        with _mirror(Path(folder, "root")) as url:
            for _ in range(ROUNDS):
                for name, script in contenders.items():
                    seconds[name].append(_time(script, url, Path(folder, "target")))
    return seconds


def _rows(seconds: dict[str, list[float]]) -> list[Row]:
    """Ours beside the peer, which it may not be slower than, and beside the limit, which has no target."""
    work, ours, peer = f"download {FILE_BYTES // 1_000_000} MB, {OURS}", median(seconds[OURS]), median(seconds[PEER])
    spread = max(seconds[OURS]) - min(seconds[OURS])
    rows = [Row(work, ours, "s", PEER, peer, "≤ 1.0 × peer", ours <= peer, spread)]
    if LIMIT in seconds:
        rows.append(Row(work, ours, "s", LIMIT, median(seconds[LIMIT]), "", True, spread))
    return rows


def _write_repository(root: Path) -> None:
    folder = root / "models" / REPO
    folder.mkdir(parents=True)
    with (folder / FILE).open("wb") as file:
        for _ in range(FILE_BYTES // 1_000_000):
            file.write(os.urandom(1_000_000))


@contextmanager
def _mirror(root: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "mistudio_local.hub_mirror", "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            _warm_up(url)
            yield url
        finally:
            process.terminate()


def _warm_up(url: str) -> None:
    """Let the mirror compute its checksums once, before anyone's time counts."""
    script = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()"
    subprocess.run([sys.executable, "-c", script, f"{url}/api/models/{REPO}"], check=True)


def _time(script: str, url: str, target: Path) -> float:
    shutil.rmtree(target, ignore_errors=True)
    os.sync()  # no contender pays for writing out what the one before it left in memory
    settings = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(target)}
    command = [sys.executable, "-c", script, url, REPO, str(target)]
    child = subprocess.run(command, env=os.environ | settings, stdout=subprocess.PIPE, text=True, check=True)
    return float(child.stdout.split()[-1])


if __name__ == "__main__":
    main()

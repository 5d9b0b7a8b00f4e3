"""Unmodified `huggingface_hub` and `datasets` work with the mirror as their endpoint."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mistudio_local.hub_mirror import HubMirror
from mistudio_local.hub_mirror.background import mirror_in_background
from mistudio_local.hub_mirror.shelf import DATASET_ID, MODEL_ID, fill

_HUB_SCRIPT = """
import json, sys, tempfile
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.errors import HfHubHTTPError
model, dataset = sys.argv[1:]
api = HfApi()
def refusal(call):
    try:
        call()
    except HfHubHTTPError as error:
        return type(error).__name__
def tree(**options):
    return [entry.path for entry in api.list_repo_tree(model, recursive=True, **options)]
info = api.model_info(model, files_metadata=True)
weights = next(file for file in info.siblings if file.rfilename == "model.safetensors")
paths = {entry.path: entry for entry in api.get_paths_info(model, ["config.json", "1_Pooling", "none"], expand=True)}
branch = api.list_repo_refs(model).branches[0]
snapshot = Path(snapshot_download(model))
copy = Path(snapshot_download(dataset, repo_type="dataset", local_dir=tempfile.mkdtemp()))
print(json.dumps({
    "model": [info.id, info.sha, info.gated, info.private],
    "weights": [weights.size, weights.lfs.sha256],
    "dataset": api.dataset_info(dataset).sha,
    "same_commit": api.model_info(model, revision=info.sha).sha == info.sha,
    "tree": tree(),
    "expanded": tree(expand=True),
    "folder": [entry.path for entry in api.list_repo_tree(model, "1_Pooling")],
    "top": [entry.path for entry in api.list_repo_tree(model)],
    "paths": sorted(paths),
    "last_commit": paths["config.json"].last_commit.oid == info.sha,
    "branch": [branch.name, branch.target_commit],
    "file": json.loads(Path(hf_hub_download(model, "config.json")).read_text())["model_type"],
    "snapshot": sorted(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()),
    "weights_arrived": (snapshot / "model.safetensors").stat().st_size,
    "copy": sorted(path.name for path in copy.iterdir() if not path.name.startswith(".")),
    "user": api.whoami(token="hf_ada")["name"],
    "refusals": [
        refusal(lambda: api.model_info("owner/none")),
        refusal(lambda: api.model_info("owner/none", token="hf_ada")),
        refusal(lambda: api.model_info(model, revision="none")),
        refusal(lambda: api.hf_hub_download(model, "none.txt")),
        refusal(lambda: api.auth_check("owner/gated")),
        refusal(lambda: api.hf_hub_download("owner/gated", "config.json", token="hf_bob")),
        refusal(lambda: api.hf_hub_download("owner/gated", "config.json", token="hf_ada")),
        refusal(lambda: api.whoami(token="hf_nobody")),
    ],
}))
"""

_DATASETS_SCRIPT = """
import json, os, sys
from datasets import load_dataset, load_dataset_builder
dataset = sys.argv[1]
builder = load_dataset_builder(dataset)
rows = load_dataset(dataset, split="train")
print(json.dumps({
    "config": builder.config.name,
    "columns": rows.column_names,
    "rows": len(rows),
    "topic": rows[0]["topic"],
    "streamed": next(iter(load_dataset(dataset, split="train", streaming=True)))["id"],
}), flush=True)
os._exit(0)  # a stream that was left half-way has threads that can abort an orderly exit
"""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubMirror]:
    """A mirror of what comes with installed packages, and of a gated repository; pages of five entries."""
    root = tmp_path_factory.mktemp("root")
    fill(root)
    gated = root / "models/owner/gated"
    gated.mkdir(parents=True)
    (gated / "config.json").write_text("{}")
    (gated / "numbers.bin").write_bytes(bytes(range(100)))
    (gated / ".mirror.json").write_text(json.dumps({"gated": "auto", "readers": ["ada"]}))
    (root / "users.json").write_text(json.dumps({"hf_ada": "ada", "hf_bob": "bob"}))
    with mirror_in_background(root, page_entries=5) as mirror:
        yield mirror


def run(script: str, mirror: HubMirror, home: Path, *arguments: str) -> dict[str, Any]:
    """What `script` prints, in a process of its own: the libraries read their endpoint when they are imported."""
    settings = {"HF_ENDPOINT": mirror.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", script, *arguments]
    child = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def seen(mirror: HubMirror, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `huggingface_hub` sees of the mirror."""
    return run(_HUB_SCRIPT, mirror, tmp_path_factory.mktemp("home"), MODEL_ID, DATASET_ID)


def test_huggingface_hub_reads_a_model_and_a_dataset(seen: dict[str, Any]) -> None:
    name, commit, gated, private = seen["model"]
    assert (name, gated, private) == (MODEL_ID, False, False)
    assert len(commit) == len(seen["dataset"]) == 40
    assert seen["same_commit"]
    assert seen["branch"] == ["main", commit]


def test_huggingface_hub_lists_all_pages_of_a_tree(seen: dict[str, Any]) -> None:
    files = set(seen["tree"]) - {"1_Pooling"}
    assert len(seen["tree"]) == len(set(seen["tree"])) > 10
    assert seen["expanded"] == seen["tree"]
    assert sorted(files) == sorted(seen["snapshot"])
    assert seen["folder"] == ["1_Pooling/config.json"]
    assert "1_Pooling" in seen["top"]
    assert "1_Pooling/config.json" not in seen["top"]


def test_huggingface_hub_asks_for_single_paths(seen: dict[str, Any]) -> None:
    assert seen["paths"] == ["1_Pooling", "config.json"]
    assert seen["last_commit"]


def test_huggingface_hub_downloads_files_and_snapshots(seen: dict[str, Any]) -> None:
    size, sha256 = seen["weights"]
    assert seen["file"] == "bert"
    assert seen["weights_arrived"] == size > 80_000_000
    assert len(sha256) == 64
    assert seen["copy"] == ["README.md", "train.parquet"]


def test_huggingface_hub_raises_its_own_errors(seen: dict[str, Any]) -> None:
    assert seen["refusals"] == [
        "RepositoryNotFoundError",
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "GatedRepoError",
        "GatedRepoError",
        None,
        "HfHubHTTPError",
    ]
    assert seen["user"] == "ada"


def test_datasets_loads_a_dataset_by_its_id(mirror: HubMirror, tmp_path: Path) -> None:
    loaded = run(_DATASETS_SCRIPT, mirror, tmp_path, DATASET_ID)
    assert loaded["config"] == "default"
    assert loaded["columns"] == ["id", "topic", "text"]
    assert loaded["rows"] > 2000
    assert loaded["streamed"].startswith(loaded["topic"])


def test_filling_a_root_again_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    fill(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@dataclass
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def get(mirror: HubMirror, path: str, headers: dict[str, str], method: str = "GET") -> Answer:
    """The mirror's answer, redirects not followed."""
    connection = http.client.HTTPConnection(urlsplit(mirror.url).netloc)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    answer = Answer(response.status, response.headers, response.read())
    connection.close()
    return answer


@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [
        ("bytes=0-4", 206, (0, 5)),
        ("bytes=5-", 206, (5, None)),
        ("bytes=-3", 206, (-3, None)),
        ("bytes=-99999999", 206, (0, None)),
        ("bytes=3-99999999", 206, (3, None)),
        ("bytes=99999999-", 416, None),
        ("bytes=0-1,3-4", 200, (0, None)),
        ("lines=1-2", 200, (0, None)),
    ],
)
def test_ranges_are_served_as_the_standard_says(
    mirror: HubMirror, asked: str, status: int, span: tuple[int, int | None] | None
) -> None:
    path = f"/{MODEL_ID}/resolve/main/vocab.txt"
    whole = get(mirror, path, {}).body
    answer = get(mirror, path, {"Range": asked})
    assert answer.status == status
    if span is not None:
        assert answer.body == whole[slice(*span)]


def test_a_head_request_tells_commit_checksum_and_size_of_a_large_file(mirror: HubMirror) -> None:
    answer = get(mirror, f"/{MODEL_ID}/resolve/main/model.safetensors", {"Accept-Encoding": "gzip"}, "HEAD")
    assert answer.status == 302
    assert len(answer.headers["X-Repo-Commit"]) == 40
    assert len(answer.headers["X-Linked-Etag"].strip('"')) == 64
    assert int(answer.headers["X-Linked-Size"]) > 80_000_000


def test_a_small_file_is_sent_uncompressed_with_its_git_id(mirror: HubMirror) -> None:
    answer = get(mirror, f"/{MODEL_ID}/resolve/main/config.json", {"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] is None
    assert answer.headers["ETag"] == '"72b987fd805cfa2b58c4c8c952b274a11bfd5a00"'
    assert int(answer.headers["Content-Length"]) == len(answer.body)


def test_a_link_without_its_signature_is_refused(mirror: HubMirror) -> None:
    token = {"Authorization": "Bearer hf_ada"}
    link = urlsplit(get(mirror, "/owner/gated/resolve/main/numbers.bin", token).headers["Location"])
    connection = http.client.HTTPConnection(link.netloc)
    connection.request("GET", link.path)
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.parametrize(
    "path", ["/owner/gated/resolve/main/..%2F..%2Fusers.json", "/..%2F../x/resolve/main/a", "/api/models/../.."]
)
def test_nothing_outside_the_repositories_is_served(mirror: HubMirror, path: str) -> None:
    answer = get(mirror, path, {"Authorization": "Bearer hf_ada"})
    assert answer.status == 404
    assert b"hf_bob" not in answer.body


def test_the_command_line_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mistudio_local.hub_mirror", "--root", str(tmp_path), "--fill"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    url = urlsplit(child.stdout.readline().strip())
    connection = http.client.HTTPConnection(url.netloc)
    connection.request("GET", f"/api/models/{MODEL_ID}")
    assert json.loads(connection.getresponse().read())["id"] == MODEL_ID
    connection.close()
    child.terminate()
    child.communicate()
    assert child.returncode == 0

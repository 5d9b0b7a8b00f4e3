"""The job that brings a model's files in. Runs in a worker's child process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mistudio_hub.metadata import HubClient
from mistudio_hub.progress import Progress
from mistudio_hub.repository import RepoInfo, RepoType
from mistudio_hub.snapshot import total_bytes
from mistudio_hub.transfer import download
from mistudio_jobs.handler import JobContext
from mistudio_models.service.selection import ALLOW_PICKLE, FilePatterns, require_no_pickles

HUB_ENDPOINT = "hub_endpoint"
"""The worker's setting that holds the address of the Hub."""


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Fetch the files of `payload["repo_id"]` at `payload["commit"]` that its patterns choose into the job's folder.

    Returns:
        `size_bytes` of all files, and how many `files` there are.

    Raises:
        JobCancelled: the job was cancelled.
        PickleRefused: the Hub lists pickles, other than when the job was asked for.
        MistudioError: what `mistudio_hub.transfer.download` raises.
    """
    repo = RepoInfo(RepoType.MODEL, payload["repo_id"], payload["commit"])
    with HubClient(context.settings[HUB_ENDPOINT], context.secrets.get("hub_token")) as client:
        files = FilePatterns.from_json(payload).choose(client.tree(repo))
        source = client.source(repo)
    require_no_pickles(files, repo_id=repo.repo_id, requested=payload.get(ALLOW_PICKLE, False), permitted=True)
    download(
        source,
        files,
        context.folder,
        reserve=context.store.reserve,
        progress=lambda progress: _report(context, progress),
        check=context.check,
    )
    return {"size_bytes": total_bytes(files), "files": len(files)}


def _report(context: JobContext, progress: Progress) -> None:
    figures = {"files": float(progress.done_files), "files_total": float(progress.total_files)}
    context.report(progress.done_bytes, progress.total_bytes, "bytes", "downloading", figures)

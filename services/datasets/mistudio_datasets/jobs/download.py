"""Brings a dataset in from the Hub: its files first, then its rows. An attempt goes on where the last one stopped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mistudio_datasets.data.incoming.reading import SOURCE_FOLDER, bytes_to_read, read_source
from mistudio_datasets.jobs.bringing import complete, monitor_after
from mistudio_datasets.service.downloads import HUB_TOKEN
from mistudio_datasets.service.hub_source import HubDataset, find_on_hub
from mistudio_hub.metadata import HubClient
from mistudio_hub.progress import Progress
from mistudio_hub.repository import RepoSource
from mistudio_hub.transfer import download
from mistudio_jobs.handler import JobContext
from mistudio_servicekit.storage import remove_tree

HUB_ENDPOINT = "hub_endpoint"
"""Name of the worker's setting that holds the address of the Hub."""


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Fetch `repo_id` at `commit`, its `config` and `splits`, into `source/`, and lay its rows out.

    Progress is in bytes: first those fetched, then those read to convert them.
    """
    _remove_all_but_sources(context.folder)
    with HubClient(context.settings[HUB_ENDPOINT], context.secrets.get(HUB_TOKEN)) as client:
        found = find_on_hub(client, payload["repo_id"], payload["commit"], payload["config"], payload["splits"])
        source = client.source(found.repo)
    total_bytes = found.download_bytes + bytes_to_read(found.plan, {file.path: file.size for file in found.files})
    _fetch(source, found, total_bytes, context)
    context.check()
    monitor = monitor_after(found.download_bytes, total_bytes, context)
    return complete(read_source(context.folder, found.plan, monitor), context)


def _remove_all_but_sources(folder: Path) -> None:
    """An attempt before may have been stopped while it converted."""
    for path in folder.iterdir():
        if path.name != SOURCE_FOLDER:
            remove_tree(path) if path.is_dir() else path.unlink()


def _fetch(source: RepoSource, found: HubDataset, total_bytes: int, context: JobContext) -> None:
    def report(progress: Progress) -> None:
        metrics = {"files": float(progress.done_files), "files_total": float(progress.total_files)}
        context.report(progress.done_bytes, total_bytes, "bytes", "downloading", metrics)

    download(
        source,
        found.files,
        context.folder / SOURCE_FOLDER,
        reserve=context.store.reserve,
        progress=report,
        check=context.check,
    )

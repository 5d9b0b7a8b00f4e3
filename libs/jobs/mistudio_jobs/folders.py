"""The folders of a job's attempts: made, taken over, removed. Each attempt writes its own and no other."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from mistudio_jobs.claims import Claim
from mistudio_jobs.handler import JobKind
from mistudio_jobs.tables import Job
from mistudio_servicekit.storage import Store, remove_tree


def prepare(store: Store, held: Claim) -> Path | None:
    """The folder of a fresh attempt; a resumable job finds the last attempt's files in it. None for a job without one.

    A rename takes the folder away from an attempt that still writes there without knowing that it is over.
    """
    area = held.kind.area
    if area is None:
        return None
    folder = store.epoch(area, held.job.resource_id, held.job.epoch)
    folder.parent.mkdir(parents=True, exist_ok=True)
    former = [store.epoch(area, held.job.resource_id, epoch) for epoch in held.earlier]
    left = former if not held.kind.resumable else _take_over(former, folder)
    for path in left:
        remove_tree(path)
    folder.mkdir(exist_ok=True)
    return folder


def remove(store: Store, kind: JobKind, job: Job, epochs: Iterable[int]) -> None:
    """Delete the folders of a job's attempts `epochs`, and the resource's folder with the last of them."""
    if kind.area is None:
        return
    for epoch in epochs:
        remove_tree(store.epoch(kind.area, job.resource_id, epoch))
    remove_if_empty(store.resource(kind.area, job.resource_id))


def remove_if_empty(folder: Path) -> None:
    """Delete `folder` unless something is in it, or it is gone."""
    try:
        folder.rmdir()
    except OSError:
        return


def _take_over(former: list[Path], folder: Path) -> list[Path]:
    """Rename the latest of the `former` folders that is there to `folder`; returns those that are left."""
    for index, path in enumerate(former):
        try:
            os.rename(path, folder)  # noqa: PTH104 - atomic, and fails where another was quicker
        except FileNotFoundError:
            continue
        return former[index + 1 :]
    return []

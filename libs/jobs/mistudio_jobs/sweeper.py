"""The sweeper: deletes folders that no row names."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import folders
from mistudio_jobs.states import ACTIVE
from mistudio_jobs.tables import Job
from mistudio_jobs.timing import Timing
from mistudio_servicekit.database import Database
from mistudio_servicekit.storage import Area, Store, remove_tree

log = logging.getLogger(__name__)

NamedFolders = Callable[[AsyncSession, Area], Awaitable[Set[tuple[UUID, int]]]]
"""Given by a service: resource and epoch of every folder of an area that one of its rows names."""


@dataclass(frozen=True)
class _Found:
    resource_id: UUID
    epoch: int
    path: Path


class Sweeper:
    """Deletes what attempts have left behind in a service's areas.

    A folder stays while a row names it, while a job of its resource is active, and while it is young: an upload may be
    filling it.

    Args:
        database: where jobs and resources are.
        store: where the folders are.
        areas: areas of the store that are this service's.
        named: tells which folders count.
        timing: its period, and what is young.
    """

    def __init__(
        self, database: Database, store: Store, areas: Collection[Area], named: NamedFolders, timing: Timing
    ) -> None:
        self._database = database
        self._store = store
        self._areas = areas
        self._named = named
        self._timing = timing

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except (SQLAlchemyError, OSError) as error:
                log.warning("The store could not be swept: %s", type(error).__name__)
            await asyncio.sleep(self._timing.sweep)

    async def sweep(self) -> list[Path]:
        """Delete what no row names; returns what was deleted."""
        swept: list[Path] = []
        for area in self._areas:
            # Listed before the rows are read: whatever gets its name meanwhile is seen.
            found = await asyncio.to_thread(_found, self._store.root / area)
            kept = await self._kept(area, found) if found else set()
            for folder in found:
                if (folder.resource_id, folder.epoch) not in kept and await asyncio.to_thread(self._old, folder.path):
                    await asyncio.to_thread(_remove, folder.path)
                    swept.append(folder.path)
        if swept:
            log.info("Swept %s folders that no row names", len(swept))
        return swept

    async def _kept(self, area: Area, found: Sequence[_Found]) -> set[tuple[UUID, int]]:
        async with self._database.transaction() as session:
            busy = set(await session.scalars(select(Job.resource_id).where(Job.state.in_(ACTIVE))))
            named = await self._named(session, area)
        return set(named) | {(each.resource_id, each.epoch) for each in found if each.resource_id in busy}

    def _old(self, folder: Path) -> bool:
        return _newest(folder) < time.time() - self._timing.sweep_age


def _found(area: Path) -> list[_Found]:
    found = []
    for resource in area.glob("*"):
        for folder in resource.glob("*"):
            try:
                found.append(_Found(UUID(resource.name), int(folder.name), folder))
            except ValueError:
                continue
    return found


def _newest(folder: Path) -> float:
    """When something in `folder` changed last, in seconds since the epoch; 0 for what is gone."""
    newest = 0.0
    for base, _, names in os.walk(folder):
        for path in (base, *(os.path.join(base, name) for name in names)):
            try:
                newest = max(newest, os.lstat(path).st_mtime)
            except FileNotFoundError:
                continue
    return newest


def _remove(folder: Path) -> None:
    remove_tree(folder)
    folders.remove_if_empty(folder.parent)

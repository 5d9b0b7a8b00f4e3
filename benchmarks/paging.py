"""How long pages of a list take: every round goes to the next page, and from the last one back to the first."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from benchmarks.report import Row, median, percentile
from mistudio_local.guard import Guard
from mistudio_local.postgres import PostgresServer
from mistudio_local.testing import cloned_database
from mistudio_servicekit.database import Database, migrate
from mistudio_servicekit.pagination import PageRequest

ROUNDS = 30
LIMIT_MS = 20.0

Fetch = Callable[[PageRequest], Awaitable[str]]
"""Fetches a page; returns the token of the next one."""


@asynccontextmanager
async def fresh_database(schema: str, folders: Sequence[Path]) -> AsyncIterator[Database]:
    """A migrated database on a Postgres server of its own, while the block lasts."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-lists-") as folder,
        Guard() as guard,
        PostgresServer(Path(folder), guard) as server,
        cloned_database(server) as clone,
    ):
        migrate(clone.url(schema), schema, folders)
        database = Database(clone.url(schema), schema)
        try:
            yield database
        finally:
            await database.close()


async def page_row(work: str, wish: PageRequest, fetch: Fetch) -> Row:
    """The figure of one kind of list: the time within which 95 of 100 of its pages are there."""
    seconds, token = [], ""
    for _ in range(ROUNDS + 1):
        began = perf_counter()
        token = await fetch(replace(wish, page_token=token))
        seconds.append(perf_counter() - began)
    taken = [each * 1e3 for each in seconds[1:]]  # the first one compiles its statements
    p95 = percentile(taken, 95)
    return Row(f"{work}, p95", p95, "ms", "limit", LIMIT_MS, "p95 ≤ 20 ms", p95 <= LIMIT_MS, p95 - median(taken))

"""Fixtures of an engine at work, on a database of its own and a NATS server of its own; conftests import them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from mistudio_jobs.migrations import MIGRATIONS
from mistudio_jobs.testing import EFFECTS_TABLE, QUICK, SERVICE, Stand
from mistudio_jobs.timing import Timing
from mistudio_local.postgres import PostgresServer
from mistudio_local.testing import cloned_database
from mistudio_servicekit.database import Database, migrate
from mistudio_servicekit.storage import Store


@pytest.fixture(scope="session")
def jobs_template(postgres: PostgresServer) -> Iterator[str]:
    """Name of a database that has the engine's tables, to be copied."""
    with cloned_database(postgres) as database:
        migrate(database.url(SERVICE), SERVICE, [MIGRATIONS])
        yield database.name


@pytest.fixture
async def jobs_database(postgres: PostgresServer, jobs_template: str) -> AsyncIterator[Database]:
    """A schema with the engine's tables and the table `effects`."""
    with cloned_database(postgres, jobs_template) as copy:
        database = Database(copy.url(SERVICE), SERVICE)
        async with database.transaction() as session:
            await session.execute(text(EFFECTS_TABLE))
        yield database
        await database.close()


@pytest.fixture
def timing() -> Timing:
    """The periods of the stand."""
    return QUICK


@pytest.fixture
async def stand(jobs_database: Database, nats_url: str, tmp_path: Path, timing: Timing) -> AsyncIterator[Stand]:
    """A started engine without workers."""
    stand = Stand(jobs_database, nats_url, Store(tmp_path / "store"), timing)
    await stand.engine.start()
    yield stand
    await stand.engine.stop()

"""The engine's migrations go up, down with data in the tables, and agree with the tables as mapped."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from mistudio_jobs.migrations import MIGRATIONS
from mistudio_jobs.tables import Base
from mistudio_jobs.testing import SERVICE, Stand
from mistudio_local.testing import Database
from mistudio_servicekit.database import migrate

TABLES = {"jobs", "job_requests", "job_attempts", "job_progress", "workers", "outbox"}


def test_the_migrated_schema_is_the_mapped_one_and_goes_away_again(database: Database) -> None:
    url = database.url(SERVICE)
    engine = create_engine(url, connect_args={"options": f"-c search_path={SERVICE}"})
    migrate(url, SERVICE, [MIGRATIONS])
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, type_, parents: type_ != "table" or name in TABLES}
        )
        assert compare_metadata(context, Base.metadata) == []
        assert set(inspect(connection).get_table_names(SERVICE)) >= TABLES
    migrate(url, SERVICE, [MIGRATIONS], "jobs@base")
    with engine.connect() as connection:
        assert not TABLES & set(inspect(connection).get_table_names(SERVICE))
    migrate(url, SERVICE, [MIGRATIONS])
    engine.dispose()


async def test_it_goes_down_and_up_with_data_in_it(stand: Stand) -> None:
    async with stand.worker():
        await stand.ended(await stand.submit([["report", 1, 2]]))
    await stand.engine.stop()
    await stand.database.close()
    url = stand.database.url
    migrate(url, SERVICE, [MIGRATIONS], "jobs@base")
    migrate(url, SERVICE, [MIGRATIONS])
    stand.engine = stand.new_engine()
    await stand.engine.start()
    async with stand.worker():
        assert (await stand.ended(await stand.submit())).state == "SUCCEEDED"

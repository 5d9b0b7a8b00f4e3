"""The history of the schema `models`."""

from __future__ import annotations

import asyncio

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine

from mistudio_jobs.tables import Base as JobsBase
from mistudio_models.migrate import FOLDERS
from mistudio_models.store import SCHEMA
from mistudio_models.store.tables import Base
from mistudio_servicekit.database import migrate


def test_migrations_lead_to_the_tables_that_the_code_knows(database):
    url = database.url(SCHEMA)
    migrate(url, SCHEMA, FOLDERS)
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"include_object": lambda thing, name, kind, reflected, other: kind in ("table", "column")}
        context = MigrationContext.configure(connection, opts=options)
        differences = compare_metadata(context, _known_tables())
    engine.dispose()
    assert [change for change in differences if "alembic_version" not in str(change)] == []


def _known_tables() -> MetaData:
    """The service's tables and those of its jobs, which share the schema."""
    tables = MetaData()
    for part in (Base.metadata, JobsBase.metadata):
        for table in part.tables.values():
            table.to_metadata(tables)
    return tables


def test_migrations_go_down_and_up_again(database):
    url = database.url(SCHEMA)
    for revision in ("heads", "base", "heads"):
        migrate(url, SCHEMA, FOLDERS, revision)
    with database.connect() as connection:
        assert connection.execute("SELECT count(*) FROM models.models").fetchone() == (0,)


async def test_its_branch_goes_down_and_up_with_data_while_the_service_runs(service, hub):
    await service.start_worker()
    ready = await service.ended((await service.download(hub.gpt)).model.id)
    for revision in ("models@base", "heads"):
        await asyncio.to_thread(migrate, service.backend.database_url, SCHEMA, FOLDERS, revision)
    assert service.rows("SELECT state FROM jobs") == [("SUCCEEDED",)]  # the jobs are another branch, and stay
    assert (await service.refusal(service.get(ready.id))).reason == "MODEL_NOT_FOUND"
    again = await service.ended((await service.download(hub.gpt)).model.id)
    assert (again.id != ready.id, again.status) == (True, ready.status)


def test_the_role_of_the_service_may_not_touch_the_other_schema(database):
    migrate(database.url(SCHEMA), SCHEMA, FOLDERS)
    with database.connect() as connection:
        connection.execute("SET ROLE mistudio_models")
        granted = connection.execute("SELECT has_schema_privilege('datasets', 'CREATE')").fetchone()
    assert granted == (False,)

"""The tables of the datasets service go up and down."""

import asyncio

from tokenizers import Tokenizer

from mistudio_datasets.migrate import FOLDERS
from mistudio_datasets.store import SCHEMA
from mistudio_local.testing import Database
from mistudio_servicekit.database import migrate

from .served_hub import Hub
from .service_client import Service

FIRST = {"datasets", "tokenizations"}
SECOND = {"uploads", "derived", "exports"}


def _tables(database: Database) -> set[str]:
    with database.connect() as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [SCHEMA]).fetchall()
    return {name for (name,) in found}


def test_both_branches_go_up_down_and_up_again(database: Database) -> None:
    url = database.url(SCHEMA)
    migrate(url, SCHEMA, FOLDERS)
    everything = _tables(database)
    assert {*FIRST, *SECOND, "jobs", "outbox"} <= everything
    migrate(url, SCHEMA, FOLDERS, "datasets@base")
    assert _tables(database) == everything - FIRST - SECOND
    migrate(url, SCHEMA, FOLDERS)
    assert _tables(database) == everything


async def test_its_branch_goes_down_and_up_with_data_while_the_service_runs(
    working_service: Service, hub: Hub, tokenizer: Tokenizer
) -> None:
    service = working_service
    dataset = await service.ready(hub.lines, config="a")
    tokenization = await service.tokenize(dataset.id, service.models.put(tokenizer))
    await service.succeeded(tokenization.job.id)
    for revision in ("datasets@base", "heads"):
        await asyncio.to_thread(migrate, service.backend.database_url, SCHEMA, FOLDERS, revision)
    await service.succeeded(tokenization.job.id)  # the jobs are another branch, and stay
    assert (await service.refusal(service.dataset(dataset.id))).reason == "DATASET_NOT_FOUND"
    again = await service.ready(hub.lines, config="a")
    assert (again.id != dataset.id, again.rows) == (True, dataset.rows)


_LATER_COLUMNS = {"datasets": 0, "tokenizations": 1}
"""Columns of the first tables that came later; they stand last."""


def _rows(database: Database, table: str) -> list[tuple[object, ...]]:
    with database.connect() as connection:
        return connection.execute(f"SELECT * FROM {SCHEMA}.{table} ORDER BY 1").fetchall()  # of names above


async def test_what_came_second_goes_down_and_up_and_the_first_tables_keep_their_rows(
    working_service: Service, hub: Hub, tokenizer: Tokenizer
) -> None:
    service = working_service
    dataset = await service.ready(hub.lines, config="a")
    tokenization = await service.tokenize(dataset.id, service.models.put(tokenizer))
    await service.succeeded(tokenization.job.id)
    uploaded = await service.upload("rows.jsonl", b'{"n": 1}\n', request_id="mine")
    await service.succeeded(uploaded.job.id)
    _add_second_rows(service.database, dataset.id, tokenization.tokenization.id)
    kept = {table: _rows(service.database, table) for table in FIRST}
    assert all(_rows(service.database, table) for table in FIRST | SECOND)

    await asyncio.to_thread(migrate, service.backend.database_url, SCHEMA, FOLDERS, "datasets@-2")
    assert SECOND.isdisjoint(_tables(service.database))
    assert {table: _rows(service.database, table) for table in FIRST} == {
        table: [row[: -_LATER_COLUMNS[table] or None] for row in rows] for table, rows in kept.items()
    }
    await asyncio.to_thread(migrate, service.backend.database_url, SCHEMA, FOLDERS)
    assert {table: _rows(service.database, table) for table in FIRST} == kept
    assert not any(_rows(service.database, table) for table in SECOND)
    assert (await service.dataset(dataset.id)).rows == dataset.rows


def _add_second_rows(database: Database, dataset_id: str, tokenization_id: str) -> None:
    common = "'READY', 1, 10, gen_random_uuid(), 1)"
    with database.connect() as connection:
        connection.execute(
            f"INSERT INTO {SCHEMA}.derived (id, dataset_id, kind, status, epoch, size_bytes, job_id, version)"
            f" VALUES (gen_random_uuid(), %s, 'word_index', {common}",
            [dataset_id],
        )
        connection.execute(
            f"INSERT INTO {SCHEMA}.exports (id, tokenization_id, view, view_digest, sequences, short_sequences, tokens,"
            f" status, epoch, size_bytes, job_id, version)"
            f" VALUES (gen_random_uuid(), %s, '{{}}', '', 1, 0, 5, {common}",
            [tokenization_id],
        )

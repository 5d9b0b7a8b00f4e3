"""The tables of the datasets service go up and down."""

import asyncio

from tokenizers import Tokenizer

from mistudio_datasets.migrate import FOLDERS
from mistudio_datasets.store import SCHEMA
from mistudio_local.testing import Database
from mistudio_servicekit.database import migrate

from .served_hub import Hub
from .service_client import Service


def _tables(database: Database) -> set[str]:
    with database.connect() as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [SCHEMA]).fetchall()
    return {name for (name,) in found}


def test_both_branches_go_up_down_and_up_again(database: Database) -> None:
    url = database.url(SCHEMA)
    migrate(url, SCHEMA, FOLDERS)
    everything = _tables(database)
    assert {"datasets", "tokenizations", "jobs", "outbox"} <= everything
    migrate(url, SCHEMA, FOLDERS, "datasets@base")
    assert _tables(database) == everything - {"datasets", "tokenizations"}
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

"""The tables of the datasets service go up and down."""

from mistudio_datasets.migrate import FOLDERS
from mistudio_datasets.store import SCHEMA
from mistudio_local.testing import Database
from mistudio_servicekit.database import migrate


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

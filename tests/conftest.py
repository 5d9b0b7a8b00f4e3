"""Real servers for every test that wants one: Postgres once a session, a copied database and a fresh NATS a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from mistudio_local.guard import Guard
from mistudio_local.nats import NatsServer
from mistudio_local.postgres import PostgresServer
from mistudio_local.testing import Database, cloned_database

# The same examples on every machine, however long it takes for them.
settings.register_profile("everywhere", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("everywhere")


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    """Ends every server of this session, also when the session is killed."""
    with Guard() as guard:
        yield guard


@pytest.fixture(scope="session")
def postgres(guard: Guard) -> Iterator[PostgresServer]:
    """One Postgres for the session; its database `mistudio` is the template that tests copy."""
    with TemporaryDirectory() as folder, PostgresServer(Path(folder), guard, durable=False) as server:
        yield server


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[Database]:
    """A database of the test's own, with the empty schemas `datasets` and `models`."""
    with cloned_database(postgres) as database:
        yield database


@pytest.fixture
def nats_server(guard: Guard) -> Iterator[NatsServer]:
    """A NATS server of the test's own: it starts quicker than the streams of a shared one are cleared."""
    with TemporaryDirectory() as folder, NatsServer(Path(folder), guard, durable=False) as server:
        yield server


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """The URL of the test's own NATS server."""
    return nats_server.url


class _ByFile(LoadFileScheduling):
    """Tests of a file run in one process, and so do all that share the product's stack."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "tests/e2e" if file.startswith("tests/e2e/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByFile:
    """How `-n` spreads the tests over processes."""
    return _ByFile(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fault-rounds N`: how often the fault tests repeat their kills."""
    parser.addoption("--fault-rounds", type=int, default=1, help="rounds of each fault loop (default: 1)")


@pytest.fixture(scope="session")
def fault_rounds(request: pytest.FixtureRequest) -> int:
    """How often a fault test repeats its kill: once in `make test`, often in `make faults`."""
    rounds: int = request.config.getoption("--fault-rounds")
    return rounds

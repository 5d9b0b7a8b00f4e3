"""What services and workers read from their environment."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from mistudio_servicekit.backend import BackendConfig, WorkerProcessConfig
from mistudio_servicekit.config import HUB_ENDPOINT, ConfigError, Environment
from mistudio_servicekit.errors import InvalidFilter
from mistudio_servicekit.filters import parse_filter, whole_number

_KEY = bytes(range(32))
_VARIABLES = {
    "MISTUDIO_DATABASE_URL": "postgresql+psycopg://role:s3cret@127.0.0.1:5432/mistudio",
    "MISTUDIO_NATS_URL": "nats://127.0.0.1:4222",
    "MISTUDIO_STORE_DIR": "/srv/store",
    "MISTUDIO_SECRET_KEY": base64.b64encode(_KEY).decode(),
}


def test_a_backend_needs_four_variables_only():
    config = BackendConfig.read(Environment(_VARIABLES))
    assert config.store.root == Path("/srv/store")
    assert config.keys == (_KEY,)
    assert config.hub_endpoint == HUB_ENDPOINT


def test_no_secret_shows_in_a_printed_configuration():
    printed = repr(WorkerProcessConfig.read(Environment(_VARIABLES), "models", metrics_port=9104))
    assert "s3cret" not in printed
    assert repr(_KEY) not in printed


@pytest.mark.parametrize("name", _VARIABLES)
def test_a_missing_variable_is_named(name):
    with pytest.raises(ConfigError, match=name):
        BackendConfig.read(Environment({**_VARIABLES, name: ""}))


def test_a_worker_has_a_name_of_its_own_and_the_port_of_its_service():
    config = WorkerProcessConfig.read(Environment(_VARIABLES), "models", metrics_port=9104)
    assert config.name.startswith("models-")
    assert (config.pool, config.metrics_listen) == ("cpu", "127.0.0.1:9104")


def test_a_worker_has_no_memory_limit_unless_one_is_set():
    def limit(value):
        variables = Environment({**_VARIABLES, "MISTUDIO_WORKER_MEMORY_BYTES": value})
        return WorkerProcessConfig.read(variables, "models", metrics_port=9104).memory_limit_bytes

    assert (limit(""), limit("0"), limit("1000000")) == (None, None, 1_000_000)
    with pytest.raises(ConfigError, match="MISTUDIO_WORKER_MEMORY_BYTES"):
        limit("-1")


@pytest.mark.parametrize("value", ["9223372036854775808", "-9223372036854775809", "1.5", "many"])
def test_a_filter_takes_no_number_that_the_database_does_not_know(value):
    with pytest.raises(InvalidFilter, match=value):
        parse_filter(f"parameters > {value}", {"parameters": whole_number})

"""The configuration of the datasets service."""

import base64

import pytest

from mistudio_datasets.config import ServiceConfig
from mistudio_servicekit.config import ConfigError, Environment

NEEDED = {
    "MISTUDIO_DATABASE_URL": "postgresql+psycopg://role:pw@127.0.0.1/db",
    "MISTUDIO_NATS_URL": "nats://127.0.0.1:4222",
    "MISTUDIO_STORE_DIR": "/store",
    "MISTUDIO_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
}


def test_defaults_listen_on_this_machine_only() -> None:
    config = ServiceConfig.read(Environment(NEEDED))
    assert config.server.listen == "127.0.0.1:50051"
    assert config.server.metrics_listen == "127.0.0.1:9101"
    assert config.models_target == "127.0.0.1:50052"
    assert config.backend.hub_endpoint == "https://huggingface.co"


@pytest.mark.parametrize("name", NEEDED)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        ServiceConfig.read(Environment({key: value for key, value in NEEDED.items() if key != name}))


def test_secrets_are_not_shown() -> None:
    config = ServiceConfig.read(Environment(NEEDED))
    assert "pw" not in repr(config)
    assert repr(bytes(32)) not in repr(config)

"""The configuration of the models service."""

import base64

from mistudio_models.config import ServiceConfig
from mistudio_servicekit.config import Environment

NEEDED = {
    "MISTUDIO_DATABASE_URL": "postgresql+psycopg://role:pw@127.0.0.1/db",
    "MISTUDIO_NATS_URL": "nats://127.0.0.1:4222",
    "MISTUDIO_STORE_DIR": "/store",
    "MISTUDIO_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
}


def test_the_datasets_service_is_expected_on_this_machine_unless_said_otherwise() -> None:
    assert ServiceConfig.read(Environment(NEEDED)).datasets_target == "127.0.0.1:50051"
    told = {**NEEDED, "MISTUDIO_DATASETS_TARGET": "datasets:1"}
    assert ServiceConfig.read(Environment(told)).datasets_target == "datasets:1"

"""The configuration of the models service."""

import base64

from mistudio_models.config import ServiceConfig, WorkerConfig
from mistudio_models.domain.policy import Policy
from mistudio_servicekit.config import Environment

NEEDED = {
    "MISTUDIO_DATABASE_URL": "postgresql+psycopg://role:pw@127.0.0.1/db",
    "MISTUDIO_NATS_URL": "nats://127.0.0.1:4222",
    "MISTUDIO_STORE_DIR": "/store",
    "MISTUDIO_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
}


def test_nothing_that_could_run_strangers_code_is_allowed_unless_said_so() -> None:
    assert ServiceConfig.read(Environment(NEEDED)).policy == Policy(allow_pickle=False, allow_remote_code=False)
    told = {**NEEDED, "MISTUDIO_ALLOW_PICKLE": "true"}
    assert ServiceConfig.read(Environment(told)).policy == Policy(allow_pickle=True, allow_remote_code=False)
    told = {**NEEDED, "MISTUDIO_ALLOW_REMOTE_CODE": "true"}
    assert ServiceConfig.read(Environment(told)).policy == Policy(allow_pickle=False, allow_remote_code=True)


def test_the_datasets_service_is_expected_on_this_machine_unless_said_otherwise() -> None:
    assert ServiceConfig.read(Environment(NEEDED)).datasets_target == "127.0.0.1:50051"
    told = {**NEEDED, "MISTUDIO_DATASETS_TARGET": "datasets:1"}
    assert ServiceConfig.read(Environment(told)).datasets_target == "datasets:1"


def test_a_worker_holds_what_its_memory_allows_and_runs_nobodys_code_unless_it_is_told() -> None:
    config = WorkerConfig.read(Environment(NEEDED))
    assert (config.process.pool, config.model_budget_bytes, config.policy) == ("cpu", 0, Policy())
    told = {**NEEDED, "MISTUDIO_MODEL_BUDGET_BYTES": "5000", "MISTUDIO_ALLOW_PICKLE": "true"}
    config = WorkerConfig.read(Environment(told))
    assert (config.model_budget_bytes, config.policy) == (5000, Policy(allow_pickle=True))

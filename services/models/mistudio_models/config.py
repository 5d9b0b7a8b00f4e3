"""The name of the service, its default ports, and what its process reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass, field

from mistudio_models.domain.policy import Policy
from mistudio_servicekit.backend import BackendConfig, WorkerProcessConfig
from mistudio_servicekit.config import Environment, ServerConfig

SERVICE = "models"
PORT = 50052
METRICS_PORT = 9102
WORKER_METRICS_PORT = 9104


@dataclass(frozen=True)
class ServiceConfig:
    """The service process.

    Attributes:
        backend: what it shares with its workers.
        server: where it listens.
        datasets_target: `host:port` of the datasets service.
        policy: what requests may ask for that could run code of strangers.
    """

    backend: BackendConfig
    server: ServerConfig
    datasets_target: str
    policy: Policy = field(default_factory=Policy)

    @staticmethod
    def read(environment: Environment) -> ServiceConfig:
        """The variables of `BackendConfig` and `ServerConfig`, `MISTUDIO_DATASETS_TARGET`, `MISTUDIO_ALLOW_PICKLE` and
        `MISTUDIO_ALLOW_REMOTE_CODE`.
        """
        return ServiceConfig(
            backend=BackendConfig.read(environment),
            server=ServerConfig.read(environment, port=PORT, metrics_port=METRICS_PORT),
            datasets_target=environment.text("MISTUDIO_DATASETS_TARGET", "127.0.0.1:50051"),
            policy=_policy(environment),
        )


@dataclass(frozen=True)
class WorkerConfig:
    """A worker process.

    Attributes:
        process: what every worker has.
        policy: what requests may ask for that could run code of strangers.
        model_budget_bytes: most bytes of weights that it holds at once; 0 means nine tenths of the memory of its GPUs,
            or half of its host's where it has none.
    """

    process: WorkerProcessConfig
    policy: Policy = field(default_factory=Policy)
    model_budget_bytes: int = 0

    @staticmethod
    def read(environment: Environment) -> WorkerConfig:
        """The variables of `WorkerProcessConfig`, `MISTUDIO_ALLOW_PICKLE`, `MISTUDIO_ALLOW_REMOTE_CODE` and
        `MISTUDIO_MODEL_BUDGET_BYTES`.
        """
        return WorkerConfig(
            process=WorkerProcessConfig.read(environment, SERVICE, metrics_port=WORKER_METRICS_PORT),
            policy=_policy(environment),
            model_budget_bytes=environment.integer("MISTUDIO_MODEL_BUDGET_BYTES", 0),
        )


def _policy(environment: Environment) -> Policy:
    return Policy(
        allow_pickle=environment.boolean("MISTUDIO_ALLOW_PICKLE"),
        allow_remote_code=environment.boolean("MISTUDIO_ALLOW_REMOTE_CODE"),
    )

"""The name of the service, its default ports, and what its process reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from mistudio_servicekit.backend import BackendConfig
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
    """

    backend: BackendConfig
    server: ServerConfig
    datasets_target: str

    @staticmethod
    def read(environment: Environment) -> ServiceConfig:
        """The variables of `BackendConfig` and `ServerConfig`, and `MISTUDIO_DATASETS_TARGET`."""
        return ServiceConfig(
            backend=BackendConfig.read(environment),
            server=ServerConfig.read(environment, port=PORT, metrics_port=METRICS_PORT),
            datasets_target=environment.text("MISTUDIO_DATASETS_TARGET", "127.0.0.1:50051"),
        )

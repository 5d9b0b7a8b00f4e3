"""The service's name, what its process reads from its environment, and the ports it and its workers have by default."""

from __future__ import annotations

from dataclasses import dataclass

from mistudio_servicekit.backend import BackendConfig
from mistudio_servicekit.config import Environment, ServerConfig

SERVICE = "datasets"
PORT = 50051
METRICS_PORT = 9101
WORKER_METRICS_PORT = 9103


@dataclass(frozen=True)
class ServiceConfig:
    """The service process.

    Attributes:
        backend: what it shares with its workers.
        server: where it listens.
        models_target: `host:port` of the models service.
    """

    backend: BackendConfig
    server: ServerConfig
    models_target: str

    @staticmethod
    def read(environment: Environment) -> ServiceConfig:
        """The variables of `BackendConfig` and `ServerConfig`, and `MISTUDIO_MODELS_TARGET`."""
        return ServiceConfig(
            backend=BackendConfig.read(environment),
            server=ServerConfig.read(environment, port=PORT, metrics_port=METRICS_PORT),
            models_target=environment.text("MISTUDIO_MODELS_TARGET", "127.0.0.1:50052"),
        )

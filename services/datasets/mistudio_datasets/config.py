"""The service's name, what its process reads from its environment, and the ports it and its workers have by default."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from mistudio_servicekit.backend import BackendConfig
from mistudio_servicekit.config import Environment, ServerConfig

SERVICE = "datasets"
MODELS = "models"
"""The service whose deletions this one hears of."""

PORT = 50051
METRICS_PORT = 9101
WORKER_METRICS_PORT = 9103
UPLOAD_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True)
class ServiceConfig:
    """The service process.

    Attributes:
        backend: what it shares with its workers.
        server: where it listens.
        models_target: `host:port` of the models service.
        upload_lifetime: how long a cut upload waits to be gone on with.
    """

    backend: BackendConfig
    server: ServerConfig
    models_target: str
    upload_lifetime: timedelta = UPLOAD_LIFETIME

    @staticmethod
    def read(environment: Environment) -> ServiceConfig:
        """The variables of `BackendConfig` and `ServerConfig`, `MISTUDIO_MODELS_TARGET`, and
        `MISTUDIO_UPLOAD_LIFETIME_SECONDS`.
        """
        lifetime = environment.integer(
            "MISTUDIO_UPLOAD_LIFETIME_SECONDS", int(UPLOAD_LIFETIME.total_seconds()), least=1
        )
        return ServiceConfig(
            backend=BackendConfig.read(environment),
            server=ServerConfig.read(environment, port=PORT, metrics_port=METRICS_PORT),
            models_target=environment.text("MISTUDIO_MODELS_TARGET", "127.0.0.1:50052"),
            upload_lifetime=timedelta(seconds=lifetime),
        )

"""The gateway's configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mistudio_servicekit.config import Environment, ServerConfig


@dataclass(frozen=True)
class GatewayConfig:
    """Where the gateway listens and what it stands before.

    Attributes:
        server: the ports and the time to drain.
        datasets_target: gRPC target of the datasets service.
        models_target: gRPC target of the models service.
        nats_url: `nats://host:port` of the event log, several joined by commas.
        unary_seconds: deadline of a forwarded unary call whose client set none.
        blocked_seconds: how long a watcher may leave its messages unread before it is ended.
        ring_bytes: bytes of recent events kept in memory for the watchers.
    """

    server: ServerConfig
    datasets_target: str
    models_target: str
    nats_url: str
    unary_seconds: float = 30.0
    blocked_seconds: float = 30.0
    ring_bytes: int = 16 * 1024 * 1024

    @staticmethod
    def read(environment: Environment) -> GatewayConfig:
        """From `MISTUDIO_LISTEN`, `MISTUDIO_HTTP_LISTEN`, `MISTUDIO_DATASETS_TARGET`, `MISTUDIO_MODELS_TARGET`,
        `MISTUDIO_NATS_URL` and what every server reads (`ServerConfig`).

        Raises:
            ConfigError: a value is wrong; the text names its variable.
        """
        http_listen = environment.address("MISTUDIO_HTTP_LISTEN", "127.0.0.1:8080")
        return GatewayConfig(
            server=replace(ServerConfig.read(environment, port=50050, metrics_port=8080), metrics_listen=http_listen),
            datasets_target=environment.text("MISTUDIO_DATASETS_TARGET", "127.0.0.1:50051"),
            models_target=environment.text("MISTUDIO_MODELS_TARGET", "127.0.0.1:50052"),
            nats_url=environment.text("MISTUDIO_NATS_URL", "nats://127.0.0.1:4222"),
        )

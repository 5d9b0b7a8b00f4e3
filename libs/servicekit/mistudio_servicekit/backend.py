"""What every service with a database and workers is configured with: service process and worker process alike."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from mistudio_servicekit.config import HUB_ENDPOINT, Environment
from mistudio_servicekit.storage import Store


@dataclass(frozen=True)
class BackendConfig:
    """What the processes of one service share.

    Attributes:
        database_url: Postgres with the role that owns the service's schema.
        nats_url: the NATS server.
        store: the shared file store.
        keys: keys that seal secrets, newest first.
        hub_endpoint: address of the Hub or of a mirror.
        log_level: least level that is logged.
    """

    database_url: str = field(repr=False)
    nats_url: str
    store: Store
    keys: tuple[bytes, ...] = field(repr=False)
    hub_endpoint: str = HUB_ENDPOINT
    log_level: str = "INFO"

    @staticmethod
    def read(environment: Environment) -> BackendConfig:
        """From `MISTUDIO_DATABASE_URL`, `MISTUDIO_NATS_URL`, `MISTUDIO_STORE_DIR`, `MISTUDIO_SECRET_KEY[_FILE]`,
        `MISTUDIO_HUB_ENDPOINT` (or `HF_ENDPOINT`, as every Hub client honours it), `MISTUDIO_LOG_LEVEL`.
        """
        return BackendConfig(
            database_url=environment.secret("MISTUDIO_DATABASE_URL"),
            nats_url=environment.text("MISTUDIO_NATS_URL"),
            store=environment.store(),
            keys=environment.keys(),
            hub_endpoint=environment.text("MISTUDIO_HUB_ENDPOINT", environment.text("HF_ENDPOINT", HUB_ENDPOINT)),
            log_level=environment.text("MISTUDIO_LOG_LEVEL", "INFO"),
        )


@dataclass(frozen=True)
class WorkerProcessConfig:
    """A worker process.

    Attributes:
        backend: what it shares with its service.
        name: tells workers apart in attempts and logs.
        pool: whose jobs it takes.
        metrics_listen: `host:port` of /metrics and /healthz.
        memory_limit_bytes: resident memory at which a job is ended; None sets no limit.
    """

    backend: BackendConfig
    name: str
    pool: str
    metrics_listen: str
    memory_limit_bytes: int | None = None

    @staticmethod
    def read(environment: Environment, service: str, *, metrics_port: int) -> WorkerProcessConfig:
        """From the variables of `BackendConfig`, `MISTUDIO_WORKER_NAME`, `MISTUDIO_WORKER_POOL`,
        `MISTUDIO_METRICS_LISTEN`, `MISTUDIO_WORKER_MEMORY_BYTES` (0: no limit).

        Args:
            environment: where from.
            service: part of the default name.
            metrics_port: default port of /metrics.
        """
        return WorkerProcessConfig(
            backend=BackendConfig.read(environment),
            name=environment.text("MISTUDIO_WORKER_NAME", f"{service}-{socket.gethostname()}-{os.getpid()}"),
            pool=environment.text("MISTUDIO_WORKER_POOL", "cpu"),
            metrics_listen=environment.address("MISTUDIO_METRICS_LISTEN", f"127.0.0.1:{metrics_port}"),
            memory_limit_bytes=environment.integer("MISTUDIO_WORKER_MEMORY_BYTES", 0) or None,
        )

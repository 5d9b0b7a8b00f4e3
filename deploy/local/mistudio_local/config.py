"""What can be chosen about an embedded stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mistudio_local.gpus import gpu_workers
from mistudio_servicekit.errors import InvalidArgument


@dataclass(frozen=True)
class StackPorts:
    """TCP ports on 127.0.0.1; 0 takes a free one.

    Further gateways take every tenth port after the first one's; workers take the metrics ports after the services'.
    """

    gateway: int = 50050
    http: int = 8080
    datasets: int = 50051
    models: int = 50052
    metrics: int = 9101
    postgres: int = 25432
    nats: int = 24222
    hub_mirror: int = 28080

    @classmethod
    def free(cls) -> StackPorts:
        """Free ports for everything."""
        return cls(gateway=0, http=0, datasets=0, models=0, metrics=0, postgres=0, nats=0, hub_mirror=0)


@dataclass(frozen=True)
class StackOptions:
    """An embedded stack's configuration.

    Attributes:
        data_dir: holds databases, streams, store, logs and keys; what is in it survives restarts.
        ports: where to listen.
        datasets_workers: worker processes of the datasets service.
        models_workers: worker processes of the models service that need no GPU.
        models_gpu_workers: worker processes of the models service that use the machine's GPUs; one where there is one.
        gateways: gateway replicas.
        hub_mirror: run the hub mirror and use it instead of the Hub.
        datasets_database_url: Postgres to use instead of the embedded one; together with the next.
        models_database_url: the same for the models service.
        nats_url: NATS server to use instead of the embedded one.
        variables: further environment variables of services, workers and gateways (`MISTUDIO_…`).
        durable: False skips flushing databases and streams to disk, for tests that throw the folder away.
    """

    data_dir: Path = Path("var")
    ports: StackPorts = field(default_factory=StackPorts)
    datasets_workers: int = 1
    models_workers: int = 1
    models_gpu_workers: int = field(default_factory=gpu_workers)
    gateways: int = 1
    hub_mirror: bool = False
    datasets_database_url: str | None = field(default=None, repr=False)
    models_database_url: str | None = field(default=None, repr=False)
    nats_url: str | None = field(default=None, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    durable: bool = True

    def __post_init__(self) -> None:
        if bool(self.datasets_database_url) != bool(self.models_database_url):
            raise InvalidArgument(
                "Only one of MISTUDIO_DATASETS_DATABASE_URL and MISTUDIO_MODELS_DATABASE_URL is set",
                next_step="Set both to use your own Postgres, or neither for the embedded one",
            )
        workers = (self.datasets_workers, self.models_workers, self.models_gpu_workers)
        if self.gateways < 1 or min(workers) < 0:
            named = "{} and {} workers, and {} for GPUs,".format(*workers)
            raise InvalidArgument(
                f"{self.gateways} gateways, {named} are no stack",
                next_step="Ask for at least one gateway and no negative numbers",
            )

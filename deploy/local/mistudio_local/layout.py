"""The processes of a stack: which programs, with which configuration, at which addresses."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mistudio_local.config import StackOptions
from mistudio_local.datafolder import DataFolder
from mistudio_local.ports import HOST, choose_port
from mistudio_local.process import ProcessSpec
from mistudio_local.readiness import grpc_serving, http_ok, tcp_open

# The two domains, each with a service, workers, and a schema of the same name.
DOMAINS = ("datasets", "models")

# Read by the stack itself; no process may see the database of the other domain.
OWN_VARIABLES = ("MISTUDIO_DATASETS_DATABASE_URL", "MISTUDIO_MODELS_DATABASE_URL")

CPU_POOL, GPU_POOL = "cpu", "gpu"

_GATEWAY_PORT_STEP = 10
_FIRST_WORKER_METRICS = 2


def worker_kind(domain: str, pool: str = CPU_POOL) -> str:
    """What the workers of a domain and pool are called, without their number."""
    return f"{domain}-worker" if pool == CPU_POOL else f"{domain}-{pool}-worker"


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


@dataclass(frozen=True)
class Programs:
    """Command lines of what a stack runs, by domain where there is one for each."""

    migrations: Mapping[str, Sequence[str]]
    services: Mapping[str, Sequence[str]]
    workers: Mapping[str, Sequence[str]]
    gateway: Sequence[str]
    hub_mirror: Sequence[str]


PRODUCT = Programs(
    migrations={domain: _module(f"mistudio_{domain}.migrate") for domain in DOMAINS},
    services={domain: _module(f"mistudio_{domain}.server") for domain in DOMAINS},
    workers={domain: _module(f"mistudio_{domain}.worker") for domain in DOMAINS},
    gateway=_module("mistudio_gateway.server"),
    hub_mirror=_module("mistudio_local.hub_mirror"),
)


class Layout:
    """Addresses and process specifications of one stack. Addresses are chosen once and stay.

    Args:
        options: the stack's configuration.
        programs: what to run.
        database_urls: for each domain, the database with its role.
        nats_url: the NATS server.
    """

    def __init__(
        self, options: StackOptions, programs: Programs, database_urls: Mapping[str, str], nats_url: str
    ) -> None:
        self._options = options
        self._programs = programs
        self._database_urls = database_urls
        self._nats_url = nats_url
        self._folder = DataFolder(options.data_dir)
        ports = options.ports
        self.targets = {domain: _address(getattr(ports, domain)) for domain in DOMAINS}
        self.hub_mirror_address = _address(ports.hub_mirror) if options.hub_mirror else None
        self._metrics = {domain: self._metrics_address(index) for index, domain in enumerate(DOMAINS)}
        self._worker_metrics: dict[str, str] = {}
        self._gateways: dict[int, tuple[str, str]] = {}

    def migration(self, domain: str) -> ProcessSpec:
        """The process that brings a domain's schema up to date, and ends."""
        return ProcessSpec(f"{domain}-migrate", self._programs.migrations[domain], env=self._domain_env(domain))

    def service(self, domain: str) -> ProcessSpec:
        """A domain's gRPC service."""
        target = self.targets[domain]
        own = {"MISTUDIO_LISTEN": target, "MISTUDIO_METRICS_LISTEN": self._metrics[domain]}
        return ProcessSpec(
            domain,
            self._programs.services[domain],
            env=self._domain_env(domain) | own,
            ready=grpc_serving(target),
            address=target,
        )

    def worker(self, domain: str, number: int, pool: str = CPU_POOL) -> ProcessSpec:
        """A domain's worker for the jobs of `pool`; `number` counts from 1."""
        name = f"{worker_kind(domain, pool)}-{number}"
        if name not in self._worker_metrics:
            self._worker_metrics[name] = self._metrics_address(_FIRST_WORKER_METRICS + len(self._worker_metrics))
        metrics = self._worker_metrics[name]
        own = {"MISTUDIO_WORKER_NAME": name, "MISTUDIO_WORKER_POOL": pool, "MISTUDIO_METRICS_LISTEN": metrics}
        return ProcessSpec(
            name,
            self._programs.workers[domain],
            env=self._domain_env(domain) | own,
            ready=http_ok(metrics, "/healthz"),
            address=metrics,
        )

    def gateway(self, number: int) -> ProcessSpec:
        """A gateway replica; `number` counts from 1."""
        if number not in self._gateways:
            ports, offset = self._options.ports, _GATEWAY_PORT_STEP * (number - 1)
            self._gateways[number] = _address(ports.gateway, offset), _address(ports.http, offset)
        target, http = self._gateways[number]
        own = {"MISTUDIO_LISTEN": target, "MISTUDIO_HTTP_LISTEN": http}
        return ProcessSpec(
            f"gateway-{number}",
            self._programs.gateway,
            env=self._common_env() | own,
            ready=grpc_serving(target),
            address=target,
        )

    def hub_mirror(self) -> ProcessSpec | None:
        """The hub mirror, filled from installed packages, where the options ask for it."""
        if self.hub_mirror_address is None:
            return None
        host, _, port = self.hub_mirror_address.partition(":")
        place = ["--root", str(self._folder.hub_mirror), "--host", host, "--port", port, "--fill"]
        return ProcessSpec(
            "hub-mirror",
            [*self._programs.hub_mirror, *place],
            env=_inherited(),
            ready=tcp_open(host, int(port)),
            address=f"http://{self.hub_mirror_address}",
        )

    def _metrics_address(self, offset: int) -> str:
        return _address(self._options.ports.metrics, offset)

    def _common_env(self) -> dict[str, str]:
        env = _inherited() | {
            "MISTUDIO_STORE_DIR": str(self._folder.store),
            "MISTUDIO_NATS_URL": self._nats_url,
            "MISTUDIO_SECRET_KEY_FILE": str(self._folder.secret_key),
            "MISTUDIO_DATASETS_TARGET": self.targets["datasets"],
            "MISTUDIO_MODELS_TARGET": self.targets["models"],
        }
        if self.hub_mirror_address:
            env["MISTUDIO_HUB_ENDPOINT"] = f"http://{self.hub_mirror_address}"
        return {**env, **self._options.variables}

    def _domain_env(self, domain: str) -> dict[str, str]:
        return self._common_env() | {"MISTUDIO_DATABASE_URL": self._database_urls[domain]}


def _address(base: int, offset: int = 0) -> str:
    return f"{HOST}:{choose_port(base + offset if base else 0)}"


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES}

"""The domain services behind the gateway: which packages each one serves, and the channel to it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc

import mistudio
from mistudio.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_servicekit.channel import channel_options, idempotent
from mistudio_servicekit.errors import Unavailable

DATASETS, MODELS = "datasets", "models"

PACKAGES: Mapping[str, str] = {
    "mistudio.datasets.": DATASETS,
    "mistudio.models.": MODELS,
    "mistudio.extractions.": MODELS,
    "mistudio.trainings.": MODELS,
}
"""Which backend serves the packages that begin like this."""

JOBS_SERVICE: ServiceDescriptor = jobs_service_pb2.DESCRIPTOR.services_by_name["JobsService"]
_HEALTH_SECONDS = 1.5


def backend_of(service: str) -> str | None:
    """Name of the backend that serves `service` (its full name), or None for a service that is not forwarded."""
    return next((backend for prefix, backend in PACKAGES.items() if service.startswith(prefix)), None)


def forwarded_services() -> list[ServiceDescriptor]:
    """Every service of the installed stubs that is forwarded, by full name."""
    found = [service for service in _stub_services() if backend_of(service.full_name)]
    return sorted(found, key=lambda service: str(service.full_name))


def _stub_services() -> Iterator[ServiceDescriptor]:
    for module in pkgutil.walk_packages(mistudio.__path__, f"{mistudio.__name__}."):
        if module.name.endswith("_service_pb2"):
            yield from importlib.import_module(module.name).DESCRIPTOR.services_by_name.values()


@dataclass(frozen=True)
class Backend:
    """One domain service.

    Attributes:
        name: `datasets` or `models`.
        target: gRPC target, for texts.
        channel: the open channel; it adds no deadline, callers do.
        jobs: the service's own jobs.
    """

    name: str
    target: str
    channel: grpc.aio.Channel
    jobs: jobs_service_pb2_grpc.JobsServiceAsyncStub

    @staticmethod
    def open(name: str, target: str) -> Backend:
        """Connect to the backend `name`; it need not be there yet."""
        services = [service for service in forwarded_services() if backend_of(service.full_name) == name]
        options = channel_options(idempotent([*services, JOBS_SERVICE]))
        channel = grpc.aio.insecure_channel(target, options=options)
        return Backend(name, target, channel, jobs_service_pb2_grpc.JobsServiceStub(channel))

    async def check(self) -> None:
        """Raise unless the backend says that it is ready."""
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise self.unavailable("is not ready")

    def unavailable(self, problem: str = "cannot be reached") -> Unavailable:
        """The error that says that this backend `problem`."""
        return Unavailable(
            f"The {self.name} service at {self.target} {problem}",
            next_step="Try again in a few seconds, and look at the gateway's /healthz if it lasts",
            retry_after_seconds=2,
            metadata={"backend": self.name},
        )

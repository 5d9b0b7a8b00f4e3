"""Gateways before small real gRPC servers, which stand for the domain services, and a real NATS with the event log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from nats.aio.client import Client

from mistudio.jobs.v1 import jobs_service_pb2_grpc
from mistudio_gateway import metrics
from mistudio_gateway.config import GatewayConfig
from mistudio_gateway.server import Gateway
from mistudio_jobs.streams import EVENTS, connect, declare_events
from mistudio_local.nats import NatsServer
from mistudio_servicekit.config import ServerConfig
from tests.integration.gateway.backend_double import BackendDouble, JobScript


@dataclass
class House:
    """Everything that a gateway stands before, and gateways to order."""

    nats: NatsServer
    client: Client
    datasets: BackendDouble
    models: BackendDouble
    config: GatewayConfig
    stack: AsyncExitStack

    async def gateway(self, **changes: Any) -> Gateway:
        """One more gateway replica, which follows the log already."""
        gateway = await self.stack.enter_async_context(Gateway(replace(self.config, **changes)))
        await until_following(gateway)
        return gateway

    def jobs(self, gateway: Gateway) -> jobs_service_pb2_grpc.JobsServiceAsyncStub:
        """A client of a gateway's JobsService."""
        return jobs_service_pb2_grpc.JobsServiceStub(self.channel(gateway))

    def channel(self, gateway: Gateway) -> grpc.aio.Channel:
        """A channel of its own to a gateway."""
        channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{gateway.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.stack.push_async_callback(channel.close)
        return channel

    async def consumers(self) -> int:
        """How many consumers the event log has."""
        return len(await self.client.jetstream().consumers_info(EVENTS))

    async def until_watchers_are_gone(self) -> None:
        """Wait until no gateway of this process has an open watch any more."""
        while sum(sample.value for sample in next(iter(metrics.watchers.collect())).samples):  # a gauge has no event
            await asyncio.sleep(0.01)

    async def until_connected(self) -> None:
        """Wait until the test's own connection to NATS works again."""
        while not self.client.is_connected:  # the client has no event for it
            await asyncio.sleep(0.01)
        await self.client.flush()

    async def script(self, **settings: Any) -> JobScript:
        """A job of the datasets service, whose life the test plays."""
        return await self.datasets.new_job(**settings)


async def until_following(gateway: Gateway) -> None:
    """Wait until the gateway follows the event log, as its health says."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        async for answer in stub.Watch(health_pb2.HealthCheckRequest(service="mistudio.jobs.v1.JobsService")):
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return


@pytest.fixture
async def house(nats_server: NatsServer) -> AsyncIterator[House]:
    """NATS with an empty event log, both backends, and no gateway yet."""
    async with AsyncExitStack() as stack:
        client = await connect(nats_server.url, "test")
        stack.push_async_callback(client.close)
        await declare_events(client.jetstream())
        datasets = await stack.enter_async_context(BackendDouble("datasets", client))
        models = await stack.enter_async_context(BackendDouble("models", client))
        config = GatewayConfig(
            server=ServerConfig("127.0.0.1:0", "127.0.0.1:0", drain_seconds=2),
            datasets_target=f"127.0.0.1:{datasets.port}",
            models_target=f"127.0.0.1:{models.port}",
            nats_url=nats_server.url,
        )
        yield House(nats_server, client, datasets, models, config, stack)


@pytest.fixture
async def gateway(house: House) -> Gateway:
    """One gateway of the house."""
    return await house.gateway()


@pytest.fixture
def jobs(house: House, gateway: Gateway) -> jobs_service_pb2_grpc.JobsServiceAsyncStub:
    """A client of that gateway's JobsService."""
    return house.jobs(gateway)

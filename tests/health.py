"""The gateway's health as gRPC clients ask for it."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


async def until_health(channel: grpc.aio.Channel, service: str, status: int) -> None:
    """Wait until the health of `service` is `status`."""
    call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service), timeout=100)
    async for answer in call:
        if answer.status == status:
            break
    call.cancel()


async def health(channel: grpc.aio.Channel, service: str) -> int:
    """The health of `service` just now."""
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)

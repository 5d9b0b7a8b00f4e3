"""v1 through the gateway: the whole service, its notices and its errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from mistudio.models.v1 import models_service_pb2 as pb
from mistudio.models.v1 import models_service_pb2_grpc as pb_grpc
from mistudio_gateway.config import GatewayConfig
from mistudio_gateway.server import Gateway
from mistudio_servicekit.config import ServerConfig
from tests.health import until_health

_SERVICE = "mistudio.models.v1.ModelsService"


@pytest.fixture
async def gateway(service, nats_url) -> AsyncIterator[Gateway]:
    """A gateway before the models service alone."""
    listen = ServerConfig("127.0.0.1:0", "127.0.0.1:0", drain_seconds=1)
    async with Gateway(GatewayConfig(listen, "127.0.0.1:1", service.target, nats_url)) as gateway:
        yield gateway


async def test_a_client_of_v1_is_answered_through_the_gateway_with_notices_and_typed_errors(service, hub, gateway):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        old = pb_grpc.ModelsServiceStub(channel)
        call = old.DownloadModel(pb.DownloadModelRequest(repo_id=hub.gpt))
        model = (await call).model
        assert dict(await call.trailing_metadata()).keys() >= {"deprecation", "sunset"}
        assert (await old.GetModel(pb.GetModelRequest(id=model.id))).model == model
        refused = old.GetModel(pb.GetModelRequest(id="m_abc123"))
        error = await service.refusal(refused)
        assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", "MALFORMED_ID", "id")
        assert dict(await refused.trailing_metadata()).keys() >= {"deprecation", "sunset"}


def _methods(port: int) -> set[str]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert _SERVICE in database.get_services()
        (described,) = database.FindFileContainingSymbol(_SERVICE).service
        return {method.name for method in described.method}


async def test_v1_is_found_by_reflection_and_has_the_health_of_its_backend(gateway):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as channel:
        await until_health(channel, _SERVICE, health_pb2.HealthCheckResponse.SERVING)
    found = await asyncio.to_thread(_methods, gateway.port)
    assert found == {
        "ListModels", "GetModel", "DownloadModel", "DeleteModel", "CancelDownload", "GetModelInfo", "EstimateMemory",
    }  # fmt: skip

"""What a gateway says of itself: health, reflection, /healthz, /metrics."""

from __future__ import annotations

import asyncio
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from mistudio_gateway.server import Gateway
from tests.health import health, until_health
from tests.integration.gateway.conftest import House

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
DATASETS, MODELS = "mistudio.datasets.v1.DatasetsService", "mistudio.models.v2.ModelsService"


def _get(gateway: Gateway, path: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{gateway.http_port}{path}") as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


async def test_each_service_has_the_health_of_its_backend_and_the_gateway_its_own(house: House, gateway: Gateway):
    channel = house.channel(gateway)
    assert (await asyncio.to_thread(_get, gateway, "/healthz"))[0] == 200
    await house.datasets.stop()
    await until_health(channel, DATASETS, NOT_SERVING)
    assert await health(channel, MODELS) == SERVING
    assert await health(channel, "") == SERVING
    assert await health(channel, "mistudio.jobs.v1.JobsService") == SERVING
    code, text = await asyncio.to_thread(_get, gateway, "/healthz")
    assert code == 503
    assert "datasets" in text
    assert "models" not in text


async def test_a_gateway_starts_before_everything_it_needs(house: House):
    await asyncio.to_thread(house.nats.stop)
    async with Gateway(house.config) as early:
        channel = house.channel(early)
        assert await health(channel, "mistudio.jobs.v1.JobsService") == NOT_SERVING
        assert await health(channel, DATASETS) == SERVING
        await asyncio.to_thread(house.nats.start)
        await until_health(channel, "mistudio.jobs.v1.JobsService", SERVING)


def _reflected(port: int) -> dict[str, set[str]]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        found = {}
        for name in database.get_services():
            if name.startswith("mistudio."):
                file = database.FindFileContainingSymbol(name)
                short = name.rpartition(".")[2]
                service = next(each for each in file.service if each.name == short)
                found[name] = {method.name for method in service.method}
        return found


async def test_reflection_shows_every_forwarded_service_with_its_methods(gateway: Gateway):
    found = await asyncio.to_thread(_reflected, gateway.port)
    assert {DATASETS, MODELS, "mistudio.datasets.v1.TokenizationsService", "mistudio.jobs.v1.JobsService"} <= set(found)
    assert "UploadDataset" in found[DATASETS]
    assert "WatchJobs" in found["mistudio.jobs.v1.JobsService"]


async def test_metrics_tell_of_watchers_replays_and_lag(gateway: Gateway):
    _, text = await asyncio.to_thread(_get, gateway, "/metrics")
    for name in ("mistudio_gateway_watchers", "mistudio_gateway_replays_total", "mistudio_gateway_tail_lag_events"):
        assert name in text

"""A service that is away: who is told so, and how."""

import asyncio
import json
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from grpc_health.v1 import health_pb2

from mistudio.datasets.v1 import datasets_service_pb2
from mistudio.jobs.v1 import jobs_service_pb2
from mistudio.models.v2 import models_service_pb2
from mistudio_local.stack import Stack
from tests.e2e.support import Product
from tests.health import health, until_health
from tests.refusals import refusal

DATASETS, MODELS = "mistudio.datasets.v1.DatasetsService", "mistudio.models.v2.ModelsService"


def _healthz(stack: Stack) -> tuple[int, dict[str, str]]:
    """Status and problems, as a probe sees them."""
    try:
        answer = urlopen(f"http://{stack.http_addresses[0]}/healthz")
    except HTTPError as refused:
        answer = refused
    with answer:
        return answer.status, json.loads(answer.read())["problems"]


@pytest.fixture
def no_models(product: Product, stack: Stack) -> Iterator[None]:
    """The models service is stopped, and there again after the test."""
    process = stack.process("models")
    process.stop()
    yield
    process.start()


async def test_a_stopped_service_is_named_and_the_others_go_on(product: Product, stack: Stack, no_models: None) -> None:
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    await until_health(product.channel, MODELS, not_serving)
    for service in ("", DATASETS, "mistudio.jobs.v1.JobsService"):
        assert await health(product.channel, service) == serving
    code, problems = await asyncio.to_thread(_healthz, stack)
    assert (code, list(problems)) == (503, ["models"])
    for call in (
        product.models.ListModels(models_service_pb2.ListModelsRequest()),
        product.jobs.ListJobs(jobs_service_pb2.ListJobsRequest()),
    ):
        error = await refusal(call)
        assert (error.code, error.reason) == ("UNAVAILABLE", "BACKEND_UNAVAILABLE")
        assert "The models service" in error.message
    await product.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())


async def test_a_service_that_is_back_serves_again(product: Product, stack: Stack) -> None:
    await until_health(product.channel, MODELS, health_pb2.HealthCheckResponse.SERVING)
    await product.models.ListModels(models_service_pb2.ListModelsRequest())

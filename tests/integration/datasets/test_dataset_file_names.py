"""Datasets whose files try to leave their folder."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mistudio.datasets.v1 import datasets_service_pb2
from mistudio_servicekit.backend import BackendConfig
from tests.integration.lying_hub import lying_hub

from .served_hub import Hub
from .service_client import Service


@pytest.fixture(params=["../../evil.jsonl", "/evil.jsonl", "a/../../../evil.jsonl"])
def backend(request: pytest.FixtureRequest, backend: BackendConfig, hub: Hub) -> Iterator[BackendConfig]:
    with lying_hub(hub.mirror.url, {"data.jsonl": request.param}) as url:
        yield replace(backend, hub_endpoint=url)


async def test_a_file_that_would_leave_the_store_is_refused_at_once_and_nothing_is_written(
    service: Service, hub: Hub
) -> None:
    error = await service.refusal(service.download(hub.numbers))
    assert (error.code, error.reason) == ("INVALID_ARGUMENT", "UNSAFE_PATH")
    assert "evil.jsonl" in error.message
    assert error.next_step
    assert (await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())).total_size == 0
    root = service.backend.store.root
    assert not [path for path in root.parent.rglob("*") if path.name == "evil.jsonl"]

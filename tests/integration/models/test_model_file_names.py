"""Models whose files try to leave their folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from mistudio.jobs.v1 import jobs_service_pb2
from mistudio.models.v2 import model_pb2
from mistudio_servicekit.backend import BackendConfig
from tests.integration.lying_hub import lying_hub


@pytest.fixture
def backend(backend, hub) -> Iterator[BackendConfig]:
    with lying_hub(hub.mirror.url, {"tokenizer_config.json": "../../evil"}) as url:
        yield replace(backend, hub_endpoint=url)


async def test_a_file_that_would_leave_the_store_is_a_typed_error_and_nothing_is_written(service, hub):
    await service.start_worker()
    asked = await service.download(hub.gpt)
    failed = await service.ended(asked.model.id)
    assert (failed.status, failed.error.reason) == (model_pb2.MODEL_STATUS_ERROR, "UNSAFE_PATH")
    assert "evil" in failed.error.message
    assert failed.error.suggestion
    assert failed.error == (await service.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=asked.job.id))).job.error
    root = service.backend.store.root
    assert not [path for path in root.parent.rglob("*") if path.name == "evil"]
    assert not service.folder(failed.id).exists()

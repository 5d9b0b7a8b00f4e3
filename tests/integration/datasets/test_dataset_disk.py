"""A store that has too little room for a dataset, found out at every moment."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_local.hub_mirror import Body
from mistudio_servicekit.backend import BackendConfig
from mistudio_servicekit.errors import DiskFull
from mistudio_servicekit.storage import Area, Store
from tests.small_disk import fill, small_disk

from .served_hub import Hub
from .service_client import Service


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """More room than the biggest dataset takes."""
    with small_disk(tmp_path / "disk", "64m") as disk:
        yield disk


@pytest.fixture
def backend(backend: BackendConfig, disk: Path) -> BackendConfig:
    return replace(backend, store=Store(disk))


async def _assert_told(service: Service, job: job_pb2.Job) -> None:
    """The dataset and its job say the same, and nothing of them is left in the store."""
    dataset = await service.dataset(job.resource_id)
    assert (dataset.status, job.state) == (dataset_pb2.DATASET_STATUS_ERROR, job_pb2.JOB_STATE_FAILED)
    assert (job.error.reason, job.error.failure_class) == ("DISK_FULL", job_pb2.FAILURE_CLASS_DISK_FULL)
    assert "Delete datasets or models" in job.error.suggestion
    assert dataset.error == job.error
    assert not service.folder(Area.DATASETS, dataset.id).exists()


async def test_a_dataset_that_does_not_fit_is_refused_at_once(service: Service, hub: Hub, disk: Path) -> None:
    fill(disk)
    error = await service.refusal(service.download(hub.big))
    assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "DISK_FULL")
    assert hub.big in error.message
    assert (await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())).total_size == 0
    assert (await service.jobs.ListJobs(jobs_service_pb2.ListJobsRequest())).total_size == 0


async def test_a_disk_that_fills_up_before_the_download_runs_is_told_before_the_first_byte(
    service: Service, hub: Hub, disk: Path
) -> None:
    answer = await service.download(hub.big)
    fill(disk)
    await service.start_worker()
    await _assert_told(service, await service.ended(answer.job.id))
    assert hub.faults.bytes_sent("*train.parquet") == 0


async def test_room_that_others_have_reserved_is_left_alone_and_its_own_is_kept_from_them(
    working_service: Service, hub: Hub, disk: Path
) -> None:
    service, store = working_service, Store(disk)
    size = (hub.root / "datasets" / hub.big / "train.parquet").stat().st_size
    hub.faults.bodies.append(Body(times=None, path="*train.parquet", bytes_per_second=2 << 20))
    answer = await service.download(hub.big)
    await service.until(answer.job.id, lambda job: job.progress.done > 0)
    with pytest.raises(DiskFull, match=f"Downloading {hub.big}"):
        store.require_free(shutil.disk_usage(disk).free - size // 4, "Downloading tiny/model")
    await service.datasets.CancelDataset(datasets_service_pb2.CancelDatasetRequest(id=answer.dataset.id))
    await service.ended(answer.job.id)
    with store.reserve(store.free_bytes() - size // 2, "Downloading tiny/model"):
        error = await service.refusal(service.download(hub.big))
        assert (error.reason, "Downloading tiny/model" in error.message) == ("DISK_FULL", True)
    hub.faults.clear()
    await service.succeeded((await service.download(hub.big)).job.id)


async def test_a_disk_that_fills_up_in_a_download_is_told_and_with_room_a_retry_succeeds(
    working_service: Service, hub: Hub, disk: Path
) -> None:
    service = working_service
    hub.faults.bodies.append(Body(times=None, path="*train.parquet", bytes_per_second=2 << 20))
    answer = await service.download(hub.big)
    await service.until(answer.job.id, lambda job: job.progress.done > 0)
    filler = fill(disk)
    job = await service.ended(answer.job.id)
    await _assert_told(service, job)
    assert hub.big in job.error.message
    filler.unlink()
    hub.faults.clear()
    await service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job.id))
    await service.succeeded(job.id)
    assert (await service.dataset(job.resource_id)).status == dataset_pb2.DATASET_STATUS_READY

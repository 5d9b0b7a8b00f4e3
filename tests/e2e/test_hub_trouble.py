"""A Hub that breaks off, corrupts, refuses or falls silent in the middle of a download over the whole stack."""

import hashlib
from pathlib import Path

import pytest

from mistudio.datasets.v1 import dataset_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_local.hub_mirror import Body, Faults, Listener, Refusal
from mistudio_servicekit.storage import Area
from tests.e2e.support import SLOW_DATASET, Product, until_gone

FILE = "train.parquet"
PATH = f"*{FILE}"

TROUBLES: dict[str, Body | Refusal] = {
    "corrupted byte": Body(path=PATH, corrupt_at=20 * 2**20),
    "reset": Body(path=PATH, cut_after=3 * 2**20),
    "stall": Body(path=PATH, stall_after=3 * 2**20),
    "503": Refusal(503, times=3, path=PATH),
    "429 with Retry-After": Refusal(429, times=1, retry_after="1", path=PATH),
}


def show(faults: Faults, trouble: Body | Refusal) -> None:
    (faults.bodies if isinstance(trouble, Body) else faults.refusals).append(trouble)  # type: ignore[arg-type]  # chosen by type


async def until_state(product: Product, job_id: str, state: job_pb2.JobState.ValueType) -> job_pb2.Job:
    """The job once it is in `state`."""
    async for response in product.watch(job_id):
        seen = response.snapshot if response.HasField("snapshot") else response.event.state_changed
        if seen.state == state:
            return await product.job(job_id)
    raise AssertionError(f"the job ended first: {await product.job(job_id)}")


def assert_arrived_whole(product: Product, dataset_id: str, hub_root: Path) -> None:
    served = hashlib.sha256((hub_root / "datasets" / SLOW_DATASET / FILE).read_bytes()).hexdigest()
    assert product.digest(Area.DATASETS, dataset_id)[f"source/{FILE}"] == served


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_passing_trouble_is_survived_and_the_file_is_right(
    product: Product, faults: Faults, hub_root: Path, trouble: str
) -> None:
    show(faults, TROUBLES[trouble])
    job = await product.download_slow(Area.DATASETS)
    done = await product.succeeded(job.id)
    assert done.attempt == 1
    assert_arrived_whole(product, job.resource_id, hub_root)
    requests = [record for record in faults.requests if record.path.endswith(FILE)]
    assert len(requests) > len({record.byte_range for record in requests}), "something was asked for again"
    await product.delete_dataset(job.resource_id)


async def test_lasting_corruption_is_never_accepted_and_a_later_attempt_makes_it_good(
    product: Product, faults: Faults, hub_root: Path
) -> None:
    faults.bodies.append(Body(times=None, path=PATH, corrupt_at=20 * 2**20))
    job = await product.download_slow(Area.DATASETS)
    waiting = await until_state(product, job.id, job_pb2.JOB_STATE_RETRY_WAIT)
    assert waiting.error.reason == waiting.attempts[0].error.reason == "CHECKSUM_MISMATCH"
    assert FILE in waiting.error.message
    assert waiting.available_at.ToDatetime() > waiting.attempts[0].end_time.ToDatetime()
    assert (await product.dataset(job.resource_id)).status != dataset_pb2.DATASET_STATUS_READY
    assert not list(product.folder(Area.DATASETS, job.resource_id).rglob(FILE))
    faults.clear()
    done = await product.succeeded(job.id)
    assert [attempt.outcome for attempt in done.attempts] == ["failed", "succeeded"]
    assert_arrived_whole(product, job.resource_id, hub_root)
    await product.delete_dataset(job.resource_id)


async def test_a_job_waits_as_long_as_the_hub_asks_and_can_be_cancelled_meanwhile(
    product: Product, faults: Faults
) -> None:
    faults.refusals.append(Refusal(429, times=None, retry_after="120", path=PATH, listener=Listener.HUB))
    job = await product.download_slow(Area.DATASETS)
    waiting = await until_state(product, job.id, job_pb2.JOB_STATE_RETRY_WAIT)
    assert (waiting.error.reason, waiting.error.failure_class) == ("HUB_RATE_LIMITED", job_pb2.FAILURE_CLASS_NETWORK)
    wait = waiting.available_at.ToDatetime() - waiting.attempts[0].end_time.ToDatetime()
    assert 118 < wait.total_seconds() < 125
    await product.cancelled_soon(job.id)
    await until_gone(product.folder(Area.DATASETS, job.resource_id))


@pytest.mark.parametrize("area", [Area.DATASETS, Area.MODELS])
async def test_a_failed_download_is_retried_once_its_cause_is_gone(
    product: Product, faults: Faults, area: Area
) -> None:
    path = PATH if area is Area.DATASETS else "*model.safetensors"
    faults.bodies.append(Body(times=None, path=path, cut_after=2**20, bytes_per_second=2**20))
    job = await product.download_slow(area)
    await product.until(job.id, lambda progress: progress.done > 0)
    faults.refusals.append(Refusal(404, times=None, path=path))
    failed = await product.ended(job.id)
    assert (failed.state, failed.error.reason) == (job_pb2.JOB_STATE_FAILED, "ENTRY_NOT_FOUND")
    assert product.epochs(area, job.resource_id) == []
    faults.clear()
    await product.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=job.id))
    done = await product.succeeded(job.id)
    assert not done.HasField("error")
    await product.delete(area, job.resource_id)

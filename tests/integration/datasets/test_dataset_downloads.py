"""Bringing datasets in from the Hub."""

import asyncio
import logging
from pathlib import Path

import pytest

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_local.hub_mirror import Body, Refusal
from mistudio_servicekit.storage import Area

from .served_hub import Hub
from .service_client import Service


async def test_a_dataset_of_the_hub_becomes_ready_with_its_rows(working_service: Service, hub: Hub) -> None:
    dataset = await working_service.ready(hub.english)
    assert dataset.status == dataset_pb2.DATASET_STATUS_READY
    assert [(split.name, split.rows) for split in dataset.splits] == [("train", 1000), ("test", 200)]
    assert [(column.name, column.type) for column in dataset.columns] == [("id", "int64"), ("text", "string")]
    assert (dataset.rows, dataset.name, dataset.revision, len(dataset.commit)) == (1200, hub.english, "main", 40)
    stored = sum(path.stat().st_size for path in _files(working_service, dataset.id))
    assert dataset.size_bytes == stored


def _files(service: Service, dataset_id: str) -> list[Path]:
    return [path for path in service.folder(Area.DATASETS, dataset_id).rglob("*") if path.is_file()]


async def test_its_job_tells_bytes_of_a_known_total(working_service: Service, hub: Hub) -> None:
    answer = await working_service.download(hub.lines, config="b")
    job = await working_service.succeeded(answer.job.id)
    assert (job.kind, job.resource_type, job.resource_id) == ("datasets.download", "dataset", answer.dataset.id)
    assert (job.progress.stage, job.progress.unit) == ("converting", "bytes")
    folder = hub.root / "datasets" / hub.lines
    lines, card = (folder / "b.jsonl").stat().st_size, (folder / "README.md").stat().st_size
    fetched_then_read_twice = card + lines + 2 * lines
    assert job.progress.done == job.progress.total == fetched_then_read_twice
    assert job.result["rows"] == 5


async def test_only_the_asked_configuration_and_splits_are_fetched(working_service: Service, hub: Hub) -> None:
    lines = await working_service.ready(hub.lines, config="b")
    assert (lines.rows, lines.config) == (5, "b")
    test = await working_service.ready(hub.english, splits=["test"])
    assert [split.name for split in test.splits] == ["test"]
    fetched = {path.name for path in _files(working_service, lines.id) + _files(working_service, test.id)}
    assert {"b.jsonl", "test.parquet", "README.md"} <= fetched
    assert not {"a.jsonl", "train.parquet"} & fetched


async def test_two_hundred_equal_requests_start_one_job_and_ask_the_hub_once(service: Service, hub: Hub) -> None:
    answers = await asyncio.gather(*(service.download(hub.english) for _ in range(200)))
    assert len({(answer.dataset.id, answer.job.id) for answer in answers}) == 1
    assert sum(not answer.joined for answer in answers) == 1
    jobs = await service.jobs.ListJobs(jobs_service_pb2.ListJobsRequest())
    assert jobs.total_size == 1
    asked = [request for request in hub.faults.requests if "/revision/" in request.path]
    assert len(asked) < 100


async def test_a_dataset_that_is_here_is_returned(working_service: Service, hub: Hub) -> None:
    dataset = await working_service.ready(hub.english)
    again = await working_service.download(hub.english, revision=dataset.commit, splits=["test", "train"])
    assert (again.joined, again.dataset.id, again.job.id) == (True, dataset.id, dataset.job_id)
    part = await working_service.download(hub.english, splits=["test"])
    assert not part.joined


async def test_a_request_id_gives_one_answer_and_takes_no_other_content(service: Service, hub: Hub) -> None:
    first = await service.download(hub.english, request_id="mine")
    again = await service.download(hub.english, request_id="mine", hub_token=hub.bob_token)
    assert again.job.id == first.job.id
    error = await service.refusal(service.download(hub.english, request_id="mine", splits=["test"]))
    assert (error.code, error.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


async def test_a_request_id_that_joined_is_taken_too(service: Service, hub: Hub) -> None:
    first = await service.download(hub.english)
    joined = await service.download(hub.english, request_id="mine")
    assert (joined.joined, joined.job.id) == (True, first.job.id)
    error = await service.refusal(service.download(hub.english, request_id="mine", splits=["test"]))
    assert error.reason == "REQUEST_ID_REUSED"


async def test_a_request_id_answers_while_the_hub_is_away(service: Service, hub: Hub) -> None:
    first = await service.download(hub.english, request_id="mine")
    hub.faults.refusals.append(Refusal(503, times=None))
    assert (await service.download(hub.english, request_id="mine")).job.id == first.job.id


async def test_wrong_requests_are_refused_at_once(service: Service, hub: Hub) -> None:
    expected = {
        ("", ""): ("INVALID_ARGUMENT", "MISSING_FIELD", "repo_id"),
        ("no such/id here", ""): ("INVALID_ARGUMENT", "INVALID_FIELD", "repo_id"),
        ("../../etc/passwd", ""): ("INVALID_ARGUMENT", "INVALID_FIELD", "repo_id"),
        ("nobody/nothing", ""): ("NOT_FOUND", "REPO_NOT_FOUND", "repo_id"),
        (hub.english, "nowhere"): ("NOT_FOUND", "REVISION_NOT_FOUND", "revision"),
        (hub.odd, ""): ("INVALID_ARGUMENT", "UNSUPPORTED_FORMAT", ""),
        (hub.lines, ""): ("INVALID_ARGUMENT", "MISSING_FIELD", "config"),
    }
    for (repo_id, revision), wanted in expected.items():
        error = await service.refusal(service.download(repo_id, revision=revision))
        assert (error.code, error.reason, error.field) == wanted
    assert (await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())).total_size == 0


async def test_unknown_configurations_and_splits_are_told_with_those_that_exist(service: Service, hub: Hub) -> None:
    config = await service.refusal(service.download(hub.lines, config="c"))
    assert (config.code, config.reason) == ("NOT_FOUND", "CONFIG_NOT_FOUND")
    assert "'a'" in config.message
    split = await service.refusal(service.download(hub.english, splits=["validation"]))
    assert (split.code, split.reason) == ("NOT_FOUND", "SPLIT_NOT_FOUND")
    assert "'test'" in split.message
    twice = await service.refusal(service.download(hub.english, splits=["test", "test"]))
    assert (twice.reason, twice.field) == ("INVALID_FIELD", "splits[1]")


async def test_a_hub_that_is_away_is_unavailable(service: Service, hub: Hub) -> None:
    hub.faults.refusals.append(Refusal(503, times=None))
    error = await service.refusal(service.download(hub.english))
    assert (error.code, error.reason) == ("UNAVAILABLE", "HUB_UNAVAILABLE")


async def test_a_gated_dataset_opens_for_the_right_token_only(working_service: Service, hub: Hub) -> None:
    for token, reason in (("", "REPO_GATED"), (hub.bob_token, "REPO_GATED"), ("hf_wrong", "HUB_TOKEN_INVALID")):
        error = await working_service.refusal(working_service.download(hub.gated, hub_token=token))
        assert (error.code, error.reason) == ("PERMISSION_DENIED", reason)
        assert not token or token not in error.message
    dataset = await working_service.ready(hub.gated, hub_token=hub.ada_token)
    assert dataset.rows == 50
    # Who may not see it does not get it from here either.
    assert (await working_service.refusal(working_service.download(hub.gated))).reason == "REPO_GATED"


async def test_a_token_is_found_nowhere(
    working_service: Service, hub: Hub, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = await working_service.download(hub.gated, hub_token=hub.ada_token)
    await working_service.succeeded(answer.job.id)
    said = capfd.readouterr()
    assert hub.ada_token not in caplog.text + said.out + said.err + str(answer)
    token = hub.ada_token.encode()
    store = working_service.backend.store.root
    assert not [path for path in store.rglob("*") if path.is_file() and token in path.read_bytes()]
    with working_service.database.connect() as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'datasets'").fetchall()
        rows = [connection.execute(f"SELECT t::text FROM datasets.{name} t").fetchall() for (name,) in tables]
        secrets = connection.execute("SELECT secrets FROM datasets.jobs").fetchall()
    assert hub.ada_token not in str(rows)
    assert secrets == [(None,)]


async def test_a_queued_download_is_cancelled_at_once(service: Service, hub: Hub) -> None:
    answer = await service.download(hub.english)
    request = datasets_service_pb2.CancelDatasetRequest(id=answer.dataset.id)
    cancelled = await service.datasets.CancelDataset(request)
    assert cancelled.job.state == job_pb2.JOB_STATE_CANCELLED
    assert cancelled.dataset.status == dataset_pb2.DATASET_STATUS_CANCELLED
    error = await service.refusal(service.datasets.CancelDataset(request))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_CANCELLABLE")
    assert not (await service.download(hub.english)).joined


async def test_a_running_download_is_cancelled_and_its_sibling_stays(working_service: Service, hub: Hub) -> None:
    sibling = await working_service.ready(hub.english)
    hub.faults.bodies.append(Body(times=None, path="*train.parquet", bytes_per_second=1 << 20))
    answer = await working_service.download(hub.big)
    await working_service.until(answer.job.id, lambda job: job.progress.done > 0)
    request = datasets_service_pb2.CancelDatasetRequest(id=answer.dataset.id)
    cancelled = await working_service.datasets.CancelDataset(request)
    assert cancelled.job.state == job_pb2.JOB_STATE_CANCELLING
    async with asyncio.timeout(100):
        job = await working_service.ended(answer.job.id)
    assert job.state == job_pb2.JOB_STATE_CANCELLED
    assert (await working_service.dataset(answer.dataset.id)).status == dataset_pb2.DATASET_STATUS_CANCELLED
    assert not working_service.folder(Area.DATASETS, answer.dataset.id).exists()
    assert await working_service.dataset(sibling.id) == sibling


async def test_a_cancelled_download_can_be_retried(working_service: Service, hub: Hub) -> None:
    hub.faults.bodies.append(Body(times=None, path="*train.parquet", bytes_per_second=1 << 20))
    answer = await working_service.download(hub.big)
    await working_service.until(answer.job.id, lambda job: job.progress.done > 0)
    await working_service.datasets.CancelDataset(datasets_service_pb2.CancelDatasetRequest(id=answer.dataset.id))
    await working_service.ended(answer.job.id)
    hub.faults.clear()
    await working_service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=answer.job.id))
    await working_service.succeeded(answer.job.id)
    assert (await working_service.dataset(answer.dataset.id)).status == dataset_pb2.DATASET_STATUS_READY


async def test_a_retry_gives_way_to_the_same_dataset_brought_in_since(service: Service, hub: Hub) -> None:
    first = await service.download(hub.english)
    await service.datasets.CancelDataset(datasets_service_pb2.CancelDatasetRequest(id=first.dataset.id))
    second = await service.download(hub.english)
    error = await service.refusal(service.jobs.RetryJob(jobs_service_pb2.RetryJobRequest(id=first.job.id)))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "JOB_NOT_RETRYABLE")
    assert second.dataset.id in error.message


async def test_a_failed_download_is_an_error_with_the_same_text_and_leaves_nothing(
    working_service: Service, hub: Hub
) -> None:
    broken = hub.root / "datasets" / hub.english / "train.parquet"
    content = broken.read_bytes()
    broken.unlink()
    broken.write_bytes(content[:-100])
    answer = await working_service.download(hub.english)
    job = await working_service.ended(answer.job.id)
    dataset = await working_service.dataset(answer.dataset.id)
    assert dataset.status == dataset_pb2.DATASET_STATUS_ERROR
    assert dataset.error == job.error
    assert (job.error.reason, job.error.failure_class) == ("MALFORMED_FILE", job_pb2.FAILURE_CLASS_VALIDATION)
    assert "train.parquet" in job.error.message
    assert not working_service.folder(Area.DATASETS, answer.dataset.id).exists()


async def test_an_empty_repository_of_rows_is_empty(working_service: Service, hub: Hub) -> None:
    answer = await working_service.download(hub.hollow, splits=["train"])
    job = await working_service.ended(answer.job.id)
    assert (job.error.reason, job.HasField("result")) == ("DATASET_EMPTY", False)

"""Letting many datasets go at once, with all that was made of them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from tokenizers import Tokenizer

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2, tokenization_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_local.hub_mirror import Body
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import Area

from .made_rows import Rows
from .served_hub import Hub
from .service_client import Service


@pytest.fixture
def rows(service: Service) -> Rows:
    return Rows(service.database)


async def _delete(
    service: Service, ids: Sequence[str], *, force: bool = False
) -> datasets_service_pb2.BatchDeleteDatasetsResponse:
    request = datasets_service_pb2.BatchDeleteDatasetsRequest(ids=ids, force=force)
    return await service.datasets.BatchDeleteDatasets(request)


async def _listed(service: Service) -> int:
    return (await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest())).total_size


async def _seconds_for_one(service: Service, ids: Sequence[str]) -> float:
    """What it takes to delete one of `ids`, each by a call of its own."""
    seconds = []
    for each in ids:
        began = time.perf_counter()
        await _delete(service, [each], force=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


async def test_a_thousand_datasets_are_gone_at_once_by_one_job(service: Service, rows: Rows) -> None:
    (kept,) = rows.datasets(1)
    one = await _seconds_for_one(service, rows.datasets(20))
    seconds = []
    for _ in range(3):
        ids = rows.datasets(1_000)
        made = [rows.tokenization(each) for each in ids[:50]]
        began = time.perf_counter()
        answer = await _delete(service, ids, force=True)
        seconds.append(time.perf_counter() - began)
        assert (list(answer.deleted_ids), list(answer.failures)) == (ids, [])
    assert min(seconds) < 1000 * one / 3
    assert (await service.dataset(kept)).id == kept
    assert await _listed(service) == 1
    (payload,) = rows.execute("SELECT payload FROM jobs WHERE id = %s", answer.job.id)[0]
    assert {folder[1] for folder in payload["folders"]} == {*ids, *made}


async def test_a_thousand_datasets_on_their_way_are_stopped_at_once(service: Service, hub: Hub, rows: Rows) -> None:
    first = await service.download(hub.english)
    one = await _seconds_for_one(service, rows.datasets(20))
    seconds = []
    for _ in range(3):
        ids = _on_their_way(rows, first.job.id)
        began = time.perf_counter()
        answer = await _delete(service, ids)
        seconds.append(time.perf_counter() - began)
        assert list(answer.deleted_ids) == ids
    assert min(seconds) < 1000 * one / 3
    states = dict(rows.execute("SELECT state, count(*) FROM jobs WHERE kind = 'datasets.download' GROUP BY state"))
    assert states == {"CANCELLED": 3_000, "QUEUED": 1}
    told = rows.execute("SELECT count(*) FROM outbox WHERE payload ->> 'state' = 'CANCELLED'")
    assert told == [(3_000,)]
    assert (await service.dataset(first.dataset.id)).status == dataset_pb2.DATASET_STATUS_DOWNLOADING


def _on_their_way(rows: Rows, job_id: str) -> list[str]:
    """A thousand datasets whose jobs are as this one; their ids."""
    ids = rows.datasets(1_000)
    rows.execute(
        """
        INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object('id', d.job_id, 'resource_id', d.id))).*
        FROM jobs j, datasets d WHERE j.id = %s AND d.id = ANY(%s)
        """,
        job_id,
        ids,
    )
    rows.execute("UPDATE datasets SET status = 'DOWNLOADING' WHERE id = ANY(%s)", ids)
    return ids


async def test_each_dataset_is_deleted_or_refused_as_the_call_for_it_alone(service: Service, rows: Rows) -> None:
    free, used, failed = rows.datasets(3)
    tokenization = rows.tokenization(used, "QUEUED")
    rows.tokenization(failed, "ERROR")
    unknown = str(new_id())
    given = [used, "abc", free, unknown, free.upper(), "", free, used, "abc", failed]
    answer = await _delete(service, given)
    assert list(answer.deleted_ids) == [free, failed]
    assert [(failure.id, failure.error.reason) for failure in answer.failures] == [
        (used, "RESOURCE_IN_USE"),
        ("abc", "MALFORMED_ID"),
        (unknown, "DATASET_NOT_FOUND"),
        ("", "MISSING_FIELD"),
    ]
    alone = await service.refusal(service.datasets.DeleteDataset(datasets_service_pb2.DeleteDatasetRequest(id=used)))
    assert answer.failures[0].error.message == alone.message
    assert tokenization in alone.message
    assert "ids[1]" in answer.failures[1].error.message
    assert await _listed(service) == 1


async def test_a_batch_of_which_nothing_is_deleted_starts_no_job(service: Service) -> None:
    answer = await _delete(service, [str(new_id())])
    assert (len(answer.failures), answer.HasField("job")) == (1, False)
    assert (await service.jobs.ListJobs(jobs_service_pb2.ListJobsRequest())).total_size == 0


async def test_a_batch_is_bounded(service: Service) -> None:
    for ids, reason in (([], "MISSING_FIELD"), ([str(new_id())] * 1_001, "INVALID_FIELD")):
        error = await service.refusal(_delete(service, ids))
        assert (error.code, error.reason, error.field) == ("INVALID_ARGUMENT", reason, "ids")


async def test_batches_that_overlap_delete_every_dataset_once(service: Service, rows: Rows) -> None:
    ids = rows.datasets(200)
    for each in ids:
        rows.tokenization(each)
    answers = await asyncio.gather(*(_delete(service, order, force=True) for order in (ids, ids[::-1]) * 4))
    deleted = [each for answer in answers for each in answer.deleted_ids]
    assert (sorted(deleted), await _listed(service)) == (sorted(ids), 0)
    assert {failure.error.reason for answer in answers for failure in answer.failures} <= {"DATASET_NOT_FOUND"}


async def test_with_force_all_that_was_made_of_a_dataset_is_stopped_and_goes(
    service: Service, hub: Hub, rows: Rows
) -> None:
    model = (await service.download(hub.english)).job.id
    (dataset,), other = rows.datasets(1), rows.datasets(1)[0]
    ready, kept = rows.tokenization(dataset), rows.tokenization(other)
    made = {Area.TOKENIZATIONS: [ready], Area.EXPORTS: [], Area.DERIVED: [], Area.DATASETS: [dataset]}
    jobs = []
    for area, kind, add in (
        (Area.TOKENIZATIONS, "tokenize", lambda job: rows.tokenization(dataset, "QUEUED", job_id=job)),
        (Area.EXPORTS, "export", lambda job: rows.export(ready, "QUEUED", job_id=job)),
        (Area.DERIVED, "word_index", lambda job: rows.derived(dataset, "word_index", "PROCESSING", job_id=job)),
    ):
        jobs.append(rows.job_like(model, f"datasets.{kind}", str(new_id())))
        made[area].append(add(jobs[-1]))
    folders = [_folder(service, area, each) for area, ids in made.items() for each in ids]
    kept_folder = _folder(service, Area.TOKENIZATIONS, kept)
    refused = await _delete(service, [dataset])
    assert [failure.error.reason for failure in refused.failures] == ["RESOURCE_IN_USE"]
    answer = await _delete(service, [dataset], force=True)
    assert [state for (state,) in rows.execute("SELECT state FROM jobs WHERE id = ANY(%s)", jobs)] == ["CANCELLED"] * 3
    counts = [rows.execute(f"SELECT count(*) FROM {table}")[0][0] for table in ("tokenizations", "exports", "derived")]
    assert counts == [1, 0, 0]
    await service.start_worker()
    await service.succeeded(answer.job.id)
    assert [folder for folder in folders if folder.exists()] == []
    assert kept_folder.exists()


def _folder(service: Service, area: Area, resource_id: str) -> Path:
    """A folder with a file in it, as a job has left it."""
    folder = service.backend.store.epoch(area, UUID(resource_id), 1)
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"content")
    return folder.parent


async def test_derived_data_never_holds_a_dataset_back(service: Service, rows: Rows) -> None:
    (dataset,) = rows.datasets(1)
    rows.derived(dataset, "word_index")
    rows.derived(dataset, "column_statistics", "ERROR")
    await service.datasets.DeleteDataset(datasets_service_pb2.DeleteDatasetRequest(id=dataset))
    assert rows.execute("SELECT count(*) FROM derived") == [(0,)]


async def test_a_tokenization_is_refused_while_exports_need_it_unless_forced(service: Service, rows: Rows) -> None:
    (dataset,) = rows.datasets(1)
    used, free = rows.tokenization(dataset), rows.tokenization(dataset)
    needing = [rows.export(used) for _ in range(7)]
    rows.export(free, "CANCELLED")
    delete = tokenizations_service_pb2.DeleteTokenizationRequest
    error = await service.refusal(service.tokenizations.DeleteTokenization(delete(id=used)))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "RESOURCE_IN_USE")
    assert all(each in error.message for each in needing[:5])
    assert "and 2 more" in error.message
    await service.tokenizations.DeleteTokenization(delete(id=free))
    assert rows.execute("SELECT count(*) FROM exports") == [(7,)]
    stale = await service.refusal(service.tokenizations.DeleteTokenization(delete(id=used, etag="v9", force=True)))
    assert stale.reason == "ETAG_MISMATCH"
    await service.tokenizations.DeleteTokenization(delete(id=used, force=True))
    assert rows.execute("SELECT count(*) FROM exports") == [(0,)]
    gone = await service.refusal(service.tokenizations.DeleteTokenization(delete(id=used)))
    assert gone.reason == "TOKENIZATION_NOT_FOUND"


async def test_a_running_job_is_told_to_stop_when_its_dataset_is_deleted_in_a_batch(
    working_service: Service, hub: Hub
) -> None:
    hub.faults.bodies.append(Body(times=None, path="*train.parquet", bytes_per_second=1 << 20))
    running = await working_service.download(hub.big)
    await working_service.until(running.job.id, lambda job: job.progress.done > 0)
    cleanup = (await _delete(working_service, [running.dataset.id])).job
    async with asyncio.timeout(100):
        assert (await working_service.ended(running.job.id)).state == job_pb2.JOB_STATE_CANCELLED
    await working_service.succeeded(cleanup.id)
    assert not working_service.folder(Area.DATASETS, running.dataset.id).exists()


async def test_deleting_or_cancelling_one_tokenization_touches_no_other(
    working_service: Service, hub: Hub, tokenizer: Tokenizer, slow_tokenizer: Tokenizer
) -> None:
    service = working_service
    small, big = await service.ready(hub.english), await service.ready(hub.big)
    quick, slow = service.models.put(tokenizer), service.models.put(slow_tokenizer)
    first = await service.tokenize(small.id, quick)
    await service.succeeded(first.job.id)
    second = await service.tokenize(small.id, slow)
    await service.succeeded(second.job.id)
    kept = await service.tokenization(second.tokenization.id)
    running = await service.tokenize(big.id, slow)
    waiting = await service.tokenize(big.id, quick)
    await service.until(running.job.id, lambda job: job.progress.done > 0)
    cancel = tokenizations_service_pb2.CancelTokenizationRequest
    await service.tokenizations.CancelTokenization(cancel(id=waiting.tokenization.id))
    delete = tokenizations_service_pb2.DeleteTokenizationRequest
    cleanup = (await service.tokenizations.DeleteTokenization(delete(id=first.tokenization.id))).job
    still = await service.tokenization(running.tokenization.id)
    assert still.status == tokenization_pb2.TOKENIZATION_STATUS_PROCESSING
    assert await service.tokenization(kept.id) == kept
    assert service.folder(Area.TOKENIZATIONS, kept.id).exists()
    await service.tokenizations.CancelTokenization(cancel(id=running.tokenization.id))
    await service.succeeded(cleanup.id)
    assert (await service.tokenization(kept.id)) == kept
    assert (await service.dataset(small.id)).disk_use.tokenization_bytes == kept.size_bytes

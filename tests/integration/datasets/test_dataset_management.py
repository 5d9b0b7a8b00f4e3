"""Looking at datasets, renaming them, letting them go."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_local.hub_mirror import Body
from mistudio_servicekit.database import new_id
from mistudio_servicekit.storage import Area

from .served_hub import Hub
from .service_client import Service


async def _list(service: Service, **fields: Any) -> datasets_service_pb2.ListDatasetsResponse:
    return await service.datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest(**fields))


async def _update(service: Service, paths: list[str], **fields: Any) -> dataset_pb2.Dataset:
    request = datasets_service_pb2.UpdateDatasetRequest(
        dataset=dataset_pb2.Dataset(**fields), update_mask=FieldMask(paths=paths)
    )
    return (await service.datasets.UpdateDataset(request)).dataset


async def test_unknown_and_malformed_ids_are_told_apart(service: Service) -> None:
    for wrong, reason in (("", "MISSING_FIELD"), ("abc", "MALFORMED_ID"), (str(new_id()), "DATASET_NOT_FOUND")):
        request = datasets_service_pb2.GetDatasetRequest(id=wrong)
        assert (await service.refusal(service.datasets.GetDataset(request))).reason == reason


async def test_lists_search_filter_order_and_page(service: Service, hub: Hub) -> None:
    names = [f"Name {number}" for number in range(5)]
    for name, splits in zip(names, (["train"], ["test"], [], [], []), strict=True):
        await service.upload("rows.jsonl", b"{}\n", name=name) if not splits else await service.download(
            hub.english, name=name, splits=splits
        )
    assert [found.name for found in (await _list(service)).datasets] == names[::-1]
    assert (await _list(service, search="tiny/ENG")).total_size == 2
    assert (await _list(service, search="name 3")).total_size == 1
    assert (await _list(service, search="%")).total_size == 0
    assert (await _list(service, filter="status = PROCESSING")).total_size == 3
    assert (await _list(service, filter=f'repo_id = "{hub.english}" AND name != "Name 0"')).total_size == 1
    first = await _list(service, order_by="name", page_size=2)
    second = await _list(service, order_by="name", page_size=2, page_token=first.next_page_token)
    third = await _list(service, order_by="name", page_size=2, page_token=second.next_page_token)
    assert [found.name for answer in (first, second, third) for found in answer.datasets] == names
    assert (third.next_page_token, third.total_size) == ("", 5)


async def test_wrong_lists_are_refused(service: Service, hub: Hub) -> None:
    await service.upload("a.jsonl", b"{}\n")
    await service.upload("b.jsonl", b"{}\n")
    token = (await _list(service, page_size=1)).next_page_token
    for fields, reason in (
        ({"page_size": -1}, "INVALID_FIELD"),
        ({"page_size": 501}, "INVALID_FIELD"),
        ({"page_token": "xx"}, "INVALID_PAGE_TOKEN"),
        ({"page_token": token, "search": "other"}, "INVALID_PAGE_TOKEN"),
        ({"filter": "status = NOPE"}, "INVALID_FILTER"),
        ({"filter": "epoch = 1"}, "INVALID_FILTER"),
        ({"filter": f"rows > {2**63}"}, "INVALID_FILTER"),
        ({"filter": 'name = "a\0b"'}, "INVALID_FIELD"),
        ({"search": "a\0b"}, "INVALID_FIELD"),
        ({"order_by": "epoch"}, "INVALID_ORDER_BY"),
    ):
        error = await service.refusal(_list(service, **fields))
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", reason)


async def test_a_dataset_is_renamed_and_labelled_and_its_etag_changes(service: Service) -> None:
    before = (await service.upload("rows.jsonl", b"{}\n")).dataset
    renamed = await _update(service, ["name"], id=before.id, name="New", labels={"not": "taken"}, etag=before.etag)
    assert (renamed.name, dict(renamed.labels)) == ("New", {})
    assert renamed.etag != before.etag
    labelled = await _update(service, ["labels"], id=before.id, labels={"team": "blue"})
    assert (labelled.name, dict(labelled.labels)) == ("New", {"team": "blue"})
    stale = await service.refusal(_update(service, ["name"], id=before.id, name="X", etag=before.etag))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")


async def test_wrong_updates_are_refused(service: Service) -> None:
    dataset_id = (await service.upload("rows.jsonl", b"{}\n")).dataset.id
    for paths, fields, field in (
        ([], {}, "update_mask"),
        (["rows"], {}, "update_mask"),
        (["name"], {"name": ""}, "dataset.name"),
        (["name"], {"name": "x" * 257}, "dataset.name"),
        (["labels"], {"labels": {str(n): "" for n in range(65)}}, "dataset.labels"),
    ):
        error = await service.refusal(_update(service, paths, id=dataset_id, **fields))
        assert (error.code, error.field) == ("INVALID_ARGUMENT", field)


async def test_a_deleted_dataset_is_gone_at_once_and_its_files_soon(working_service: Service, hub: Hub) -> None:
    sibling = await working_service.ready(hub.lines, config="a")
    dataset = await working_service.ready(hub.english)
    stale = datasets_service_pb2.DeleteDatasetRequest(id=dataset.id, etag="v0")
    assert (await working_service.refusal(working_service.datasets.DeleteDataset(stale))).code == "ABORTED"
    request = datasets_service_pb2.DeleteDatasetRequest(id=dataset.id, etag=dataset.etag)
    job = (await working_service.datasets.DeleteDataset(request)).job
    error = await working_service.refusal(working_service.dataset(dataset.id))
    assert error.reason == "DATASET_NOT_FOUND"
    await working_service.succeeded(job.id)
    assert not working_service.folder(Area.DATASETS, dataset.id).exists()
    assert await working_service.dataset(sibling.id) == sibling
    assert not (await working_service.download(hub.english)).joined


async def test_a_dataset_that_waits_for_a_worker_is_deleted_with_its_etag_and_not_with_a_stale_one(
    service: Service, hub: Hub
) -> None:
    answer = await service.download(hub.english)
    stale = datasets_service_pb2.DeleteDatasetRequest(id=answer.dataset.id, etag="v0")
    error = await service.refusal(service.datasets.DeleteDataset(stale))
    assert (error.code, error.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert (await service.job(answer.job.id)).state == job_pb2.JOB_STATE_QUEUED
    request = datasets_service_pb2.DeleteDatasetRequest(id=answer.dataset.id, etag=answer.dataset.etag)
    await service.datasets.DeleteDataset(request)
    assert (await service.job(answer.job.id)).state == job_pb2.JOB_STATE_CANCELLED
    assert (await service.refusal(service.dataset(answer.dataset.id))).reason == "DATASET_NOT_FOUND"


async def test_deleting_a_dataset_on_its_way_stops_its_job(working_service: Service, hub: Hub) -> None:
    hub.faults.bodies.append(Body(times=None, path="*train.parquet", bytes_per_second=1 << 20))
    answer = await working_service.download(hub.big)
    await working_service.until(answer.job.id, lambda job: job.progress.done > 0)
    request = datasets_service_pb2.DeleteDatasetRequest(id=answer.dataset.id)
    cleanup = (await working_service.datasets.DeleteDataset(request)).job
    assert (await working_service.ended(answer.job.id)).state == job_pb2.JOB_STATE_CANCELLED
    await working_service.succeeded(cleanup.id)
    assert not working_service.folder(Area.DATASETS, answer.dataset.id).exists()
    assert (await _list(working_service)).total_size == 0


async def _samples(service: Service, dataset_id: str, **fields: Any) -> datasets_service_pb2.ListSamplesResponse:
    request = datasets_service_pb2.ListSamplesRequest(dataset_id=dataset_id, **fields)
    return await service.datasets.ListSamples(request)


async def test_samples_are_paged_to_any_row(working_service: Service, hub: Hub, texts: list[str]) -> None:
    dataset = await working_service.ready(hub.english)
    page = await _samples(working_service, dataset.id)
    assert [sample.row for sample in page.samples] == list(range(20))
    assert (page.total_size, page.samples[7].values["text"]) == (1000, texts[7])
    page = await _samples(working_service, dataset.id, offset=990, page_size=6)
    rest = await _samples(working_service, dataset.id, page_size=6, page_token=page.next_page_token)
    assert [sample.row for sample in rest.samples] == [996, 997, 998, 999]
    assert (rest.next_page_token, rest.samples[-1].values["text"]) == ("", texts[999])
    test = await _samples(working_service, dataset.id, split="test", offset=199)
    assert [sample.values["id"] for sample in test.samples] == [1199]
    assert list((await _samples(working_service, dataset.id, offset=5000)).samples) == []


async def test_big_cells_are_cut_and_the_answer_stays_small(working_service: Service) -> None:
    answer = await working_service.upload("rows.txt", (b"x" * 100_000 + b"\n") * 300)
    await working_service.succeeded(answer.job.id)
    page = await _samples(working_service, answer.dataset.id, page_size=300)
    assert page.samples[0].cut_cells[0].size_bytes == 100_000
    assert page.ByteSize() < 3 << 20
    assert 0 < len(page.samples) < 300
    assert page.next_page_token


async def test_wrong_sample_requests_are_refused(working_service: Service, hub: Hub) -> None:
    dataset = await working_service.ready(hub.english)
    for fields, reason in (
        ({"page_size": 1001}, "INVALID_FIELD"),
        ({"offset": -1}, "INVALID_FIELD"),
        ({"page_token": "zzz"}, "INVALID_PAGE_TOKEN"),
        ({"split": "nope"}, "SPLIT_NOT_FOUND"),
    ):
        error = await working_service.refusal(_samples(working_service, dataset.id, **fields))
        assert error.reason == reason


async def test_a_dataset_on_its_way_shows_no_samples(service: Service, hub: Hub) -> None:
    answer = await service.download(hub.english)
    error = await service.refusal(_samples(service, answer.dataset.id))
    assert (error.code, error.reason) == ("FAILED_PRECONDITION", "DATASET_NOT_READY")
    assert "DOWNLOADING" in error.message

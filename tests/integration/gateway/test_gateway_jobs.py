"""JobsService over both domains."""

from __future__ import annotations

import random
from uuid import uuid4

import grpc
import pytest

from mistudio.jobs.v1 import job_pb2
from mistudio.jobs.v1 import jobs_service_pb2 as pb
from mistudio_jobs.events import deleted_subject
from tests.integration.gateway.conftest import House
from tests.integration.gateway.watchers import info_of, taken, told_event


async def test_a_job_is_found_in_whichever_service_it_lives(house: House, jobs):
    for script in (await house.script(), await house.models.new_job()):
        assert (await jobs.GetJob(pb.GetJobRequest(id=script.id))).job == script.job


async def test_a_cancel_reaches_its_service_and_a_refusal_comes_back_whole(house: House, jobs):
    script = await house.models.new_job()
    answer = await jobs.CancelJob(pb.CancelJobRequest(id=script.id))
    assert answer.job.state == job_pb2.JOB_STATE_CANCELLED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.CancelJob(pb.CancelJobRequest(id=script.id))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert info_of(refused.value).metadata["subject"] == script.id
    assert refused.value.details() == "The job has ended. Look at it."


async def test_a_job_is_called_unknown_only_when_every_service_has_said_so(house: House, jobs):
    missing = pb.GetJobRequest(id=str(uuid4()))
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await jobs.GetJob(missing)
    assert (unknown.value.code(), info_of(unknown.value).reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")
    known = await house.script()
    await house.models.stop()
    with pytest.raises(grpc.aio.AioRpcError) as unsure:
        await jobs.GetJob(missing)
    assert unsure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(unsure.value).metadata["backend"] == "models"
    assert (await jobs.GetJob(pb.GetJobRequest(id=known.id))).job.id == known.id


@pytest.mark.parametrize("order_by", ["", "created_at", "created_at desc"])
@pytest.mark.parametrize("page_size", [1, 3, 7, 100])
async def test_pages_of_both_services_make_one_ordered_list(house: House, jobs, order_by, page_size):
    chance = random.Random(7)
    scripts = []
    for _ in range(15):
        backend = chance.choice([house.datasets, house.datasets, house.models])
        scripts.append(await backend.new_job(seconds=chance.randint(1, 8)))
    wanted = [(s.job.create_time.seconds, s.id) for s in scripts]
    listed, token = [], ""
    while True:
        request = pb.ListJobsRequest(page_size=page_size, page_token=token, order_by=order_by)
        page = await jobs.ListJobs(request)
        assert page.total_size == 15
        assert len(page.jobs) <= page_size
        listed += page.jobs
        token = page.next_page_token
        if not token:
            break
        # Jobs that come later than a newest-first list began belong to none of its pages.
        if order_by != "created_at" and page_size == 7 and len(listed) == 7:
            await house.datasets.new_job(seconds=99)
            wanted_total = 16
            assert (await jobs.ListJobs(pb.ListJobsRequest())).total_size == wanted_total
            house.datasets.scripts.popitem()
    assert [(job.create_time.seconds, job.id) for job in listed] == sorted(wanted, reverse=order_by != "created_at")


async def test_a_filter_narrows_the_merged_list_and_binds_its_tokens(house: House, jobs):
    for _ in range(3):
        await house.script(kind="tokenize")
        await house.models.new_job(kind="download")
    page = await jobs.ListJobs(pb.ListJobsRequest(filter="kind = datasets.tokenize", page_size=2))
    assert [job.kind for job in page.jobs] == ["datasets.tokenize"] * 2
    assert page.total_size == 3
    wrong = [
        (pb.ListJobsRequest(page_token=page.next_page_token), "INVALID_PAGE_TOKEN"),
        (pb.ListJobsRequest(page_token="!"), "INVALID_PAGE_TOKEN"),
        (pb.ListJobsRequest(order_by="colour"), "INVALID_ORDER_BY"),
        (pb.ListJobsRequest(filter="colour = red"), "INVALID_FILTER"),
        (pb.ListJobsRequest(page_size=501), "INVALID_FIELD"),
    ]
    for request, reason in wrong:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await jobs.ListJobs(request)
        assert info_of(refused.value).reason == reason


async def test_half_a_list_is_no_list(house: House, jobs):
    await house.script()
    await house.models.stop()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ListJobs(pb.ListJobsRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(refused.value).metadata["backend"] == "models"


async def test_workers_of_both_services_are_one_list(house: House, jobs):
    for backend, name, pool in (
        (house.models, "m-2", "gpu"),
        (house.models, "m-1", "cpu"),
        (house.datasets, "d-2", "cpu"),
        (house.datasets, "d-1", "cpu"),
    ):
        backend.put_worker(name, pool)
    found = (await jobs.ListWorkers(pb.ListWorkersRequest())).workers
    assert [(worker.service, worker.pool, worker.name) for worker in found] == [
        ("datasets", "cpu", "d-1"),
        ("datasets", "cpu", "d-2"),
        ("models", "cpu", "m-1"),
        ("models", "gpu", "m-2"),
    ]
    assert found[0].state["holds"] == "d-1"
    of_gpu = (await jobs.ListWorkers(pb.ListWorkersRequest(pool="gpu"))).workers
    assert [worker.name for worker in of_gpu] == ["m-2"]


async def test_half_a_list_of_workers_is_no_list(house: House, jobs):
    house.models.put_worker("m-1", "cpu")
    await house.datasets.stop()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.ListWorkers(pb.ListWorkersRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(refused.value).metadata["backend"] == "datasets"


async def test_a_queued_job_says_what_it_waits_for_alone_in_lists_and_in_snapshots(house: House, jobs):
    script = await house.models.new_job()
    script.job.wait.CopyFrom(job_pb2.JobWait(ahead=3, workers=0, reason="waiting for a gpu worker, 3 ahead"))
    assert (await jobs.GetJob(pb.GetJobRequest(id=script.id))).job.wait == script.job.wait
    assert (await jobs.ListJobs(pb.ListJobsRequest())).jobs[0].wait == script.job.wait
    for call in (
        jobs.WatchJob(pb.WatchJobRequest(id=script.id)),
        jobs.WatchJobs(pb.WatchJobsRequest(send_initial=True)),
    ):
        (response,) = await taken(call, 1)
        assert response.snapshot.wait == script.job.wait


async def test_news_of_deleted_resources_in_the_log_trouble_no_watch_of_jobs(house: House, jobs):
    script = await house.script()
    call = jobs.WatchJobs(pb.WatchJobsRequest(send_initial=True), timeout=100)
    assert [each.WhichOneof("body") for each in await taken(call, 2)] == ["snapshot", "initial_end"]
    await house.client.jetstream().publish(deleted_subject("models", uuid4()), b"2026-11-20T14:46:05.123456+00:00")
    await script.turn(job_pb2.JOB_STATE_RUNNING)
    assert [told_event(each.event) for each in await taken(call, 1)] == [told_event(script.events[-1])]


async def test_the_event_log_of_a_job_is_read_page_by_page(house: House, jobs):
    script, other = await house.script(), await house.script()
    await script.live(reports=20, attempts=2)
    await other.live(reports=3)
    told, token = [], ""
    while True:
        page = await jobs.ListJobEvents(pb.ListJobEventsRequest(id=script.id, page_size=7, page_token=token))
        told += [told_event(event) for event in page.events]
        token = page.next_page_token
        if not token:
            break
    assert told == [told_event(event) for event in script.events]


async def test_events_of_an_unknown_job_are_not_found_and_foreign_tokens_are_refused(house: House, jobs):
    script, other = await house.script(), await house.script()
    await script.turn(job_pb2.JOB_STATE_RUNNING)
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await jobs.ListJobEvents(pb.ListJobEventsRequest(id=str(uuid4())))
    assert info_of(unknown.value).reason == "JOB_NOT_FOUND"
    page = await jobs.ListJobEvents(pb.ListJobEventsRequest(id=script.id, page_size=1))
    with pytest.raises(grpc.aio.AioRpcError) as foreign:
        await jobs.ListJobEvents(pb.ListJobEventsRequest(id=other.id, page_token=page.next_page_token))
    assert info_of(foreign.value).reason == "INVALID_PAGE_TOKEN"

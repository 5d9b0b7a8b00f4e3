"""JobsService of one service, called over gRPC."""

from __future__ import annotations

import grpc
import pytest
from sqlalchemy import func

from mistudio.jobs.v1 import jobs_service_pb2 as pb
from mistudio.jobs.v1 import jobs_service_pb2_grpc as pb_grpc
from mistudio_jobs.tables import JobProgress
from mistudio_jobs.testing import Stand
from mistudio_servicekit.errors import HubUnavailable, MalformedFile
from mistudio_servicekit.status import error_of_call

MALFORMED = MalformedFile("Row 3 is no JSON", next_step="Repair it").to_record()
AWAY = HubUnavailable("The Hub is away", next_step="Wait").to_record()


async def test_get_shows_the_job_with_its_attempts(stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub) -> None:
    async with stand.worker():
        job = await stand.submit(payload={"attempt 1": [["fail", AWAY]], "steps": [["report", 3, 3]]})
        await stand.ended(job)
    shown = (await jobs.GetJob(pb.GetJobRequest(id=str(job.id)))).job
    assert (shown.service, shown.kind, shown.resource_id) == ("datasets", "datasets.scripted", str(job.resource_id))
    assert [attempt.outcome for attempt in shown.attempts] == ["failed", "succeeded"]
    assert shown.attempts[0].error.reason == "HUB_UNAVAILABLE"
    assert shown.attempts[0].error.message == "The Hub is away. Wait."
    assert shown.progress.fraction == 1.0 and shown.result["attempt"] == 2


async def test_lists_are_paged_filtered_and_counted(stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub) -> None:
    submitted = [await stand.submit() for _ in range(5)]
    await stand.cancel(submitted[0])
    request = pb.ListJobsRequest(page_size=3, filter="state = QUEUED")
    first = await jobs.ListJobs(request)
    rest = await jobs.ListJobs(
        pb.ListJobsRequest(page_size=3, filter="state = QUEUED", page_token=first.next_page_token)
    )
    assert first.total_size == 4 and not rest.next_page_token
    listed = [job.id for job in [*first.jobs, *rest.jobs]]
    assert listed == [str(job.id) for job in reversed(submitted[1:])]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"filter": f"attempt > {2**63}"}, "INVALID_FILTER"),
        ({"filter": 'kind = "a\0b"'}, "INVALID_FIELD"),
        ({"filter": "state = DONE"}, "INVALID_FILTER"),
        ({"order_by": "state"}, "INVALID_ORDER_BY"),
    ],
)
async def test_a_wrong_list_is_refused(jobs: pb_grpc.JobsServiceAsyncStub, asked: dict[str, str], reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await jobs.ListJobs(pb.ListJobsRequest(**asked))  # type: ignore[arg-type]  # filters and orders are texts
    assert error_of_call(caught.value).reason == reason


async def test_a_failed_job_is_retried_with_changed_settings(stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub) -> None:
    async with stand.worker():
        payload = {"attempt 1": [["fail", MALFORMED]], "steps": [], "settings": {"batch": 64, "name": "x"}}
        job = await stand.submit(payload=payload)
        await stand.ended(job)
        request = pb.RetryJobRequest(id=str(job.id))
        request.settings.update({"batch": 32})
        retried = (await jobs.RetryJob(request)).job
        assert (retried.state, retried.max_attempts) == (1, 6) and not retried.HasField("error")
        done = await stand.ended(job)
    assert (done.state, done.attempt, done.payload["settings"]) == ("SUCCEEDED", 2, {"batch": 32, "name": "x"})
    versions = [event.state_changed.version for event in await stand.history(job)]
    assert versions[:3] == [1, 2, 3]


@pytest.mark.parametrize("settings", [{"other": 1}, {"batch": "many"}])
async def test_a_retry_with_unknown_or_mistyped_settings_is_refused(
    stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub, settings: dict[str, int | str]
) -> None:
    job = await stand.submit(payload={"settings": {"batch": 64}})
    await stand.cancel(job)
    request = pb.RetryJobRequest(id=str(job.id))
    request.settings.update(settings)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.RetryJob(request)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_waiting_job_is_not_retried_and_an_unknown_one_not_found(
    stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub
) -> None:
    job = await stand.submit()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await jobs.RetryJob(pb.RetryJobRequest(id=str(job.id)))
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await jobs.GetJob(pb.GetJobRequest(id=str(job.resource_id)))
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as malformed:
        await jobs.CancelJob(pb.CancelJobRequest(id="7"))
    assert malformed.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_watching_is_sent_to_the_gateway(stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="gateway"):
        await jobs.ListJobEvents(pb.ListJobEventsRequest(id="x"))
    with pytest.raises(grpc.aio.AioRpcError, match="gateway"):
        async for _ in jobs.WatchJob(pb.WatchJobRequest(id="x")):
            raise AssertionError("nothing is watched here")


async def test_progress_history_comes_in_pages_oldest_first(stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub) -> None:
    job = await stand.submit()
    async with stand.database.transaction() as session:
        for done in range(1, 6):
            values = {"fraction": done / 5, "done": done, "total": 5, "unit": "rows", "stage": "", "metrics": {}}
            at = func.now() + func.make_interval(0, 0, 0, 0, 0, done)
            session.add(JobProgress(job_id=job.id, epoch=1, attempt=1, at=at, position=done, **values))
    first = await jobs.GetProgressHistory(pb.GetProgressHistoryRequest(id=str(job.id), page_size=3))
    rest = await jobs.GetProgressHistory(
        pb.GetProgressHistoryRequest(id=str(job.id), page_size=3, page_token=first.next_page_token)
    )
    assert [point.progress.done for point in [*first.points, *rest.points]] == [1, 2, 3, 4, 5]
    assert not rest.next_page_token


async def test_a_short_attempt_leaves_one_point_of_history(stand: Stand, jobs: pb_grpc.JobsServiceAsyncStub) -> None:
    async with stand.worker():
        job = await stand.submit([["count", 50, 0.8]])
        await stand.ended(job)
    history = await jobs.GetProgressHistory(pb.GetProgressHistoryRequest(id=str(job.id)))
    assert len(history.points) == 1

"""Watches over the real stack: cut anywhere, resumed anywhere, always the same history."""

import random

import grpc

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_local.stack import Stack
from tests.e2e.support import BIG_DATASET, TERMINAL, Product

Responses = list[jobs_service_pb2.WatchJobResponse]


def history(responses: Responses) -> list[bytes]:
    """What was told, without bookmarks and tokens."""
    told = []
    for response in responses:
        kind = response.WhichOneof("body")
        if kind in ("snapshot", "event"):
            told.append(getattr(response, kind).SerializeToString(deterministic=True))
    return told


async def cut_watch(stack: Stack, job_id: str, uncut: Responses, chance: random.Random) -> Responses:
    """The whole watch in pieces of random length, each on a random gateway, the first from the uncut one's start."""
    collected = uncut[:1]
    while True:
        async with grpc.aio.insecure_channel(chance.choice(stack.gateway_targets)) as channel:
            stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
            call = stub.WatchJob(jobs_service_pb2.WatchJobRequest(id=job_id, resume_token=collected[-1].resume_token))
            left = chance.randint(1, 4)
            async for response in call:
                collected.append(response)
                left -= 1
                if not left:
                    call.cancel()
                    break
            else:
                return collected


async def test_a_cut_watch_resumed_on_any_replica_tells_the_uncut_history(product: Product, stack: Stack) -> None:
    dataset, model = await product.ready_dataset(BIG_DATASET), await product.ready_model()
    answer = await product.tokenize(dataset.id, model.id)
    uncut = [response async for response in product.watch(answer.job.id)]
    assert len(history(uncut)) > 4
    for seed in range(5):
        cut = await cut_watch(stack, answer.job.id, uncut, random.Random(seed))
        assert history(cut) == history(uncut)
    ends = [r for r in uncut if r.event.HasField("state_changed") and r.event.state_changed.state in TERMINAL]
    assert ends == [uncut[-1]]
    await product.delete_tokenization(answer.tokenization.id)


async def test_a_finished_jobs_watch_is_one_snapshot(product: Product) -> None:
    answer = await product.download_model()
    await product.succeeded(answer.job.id)
    responses = [response async for response in product.watch(answer.job.id)]
    assert [response.WhichOneof("body") for response in responses] == ["snapshot"]
    assert responses[0].snapshot.state == job_pb2.JOB_STATE_SUCCEEDED


async def test_all_jobs_are_watched_with_snapshots_then_events(product: Product) -> None:
    call = product.jobs.WatchJobs(
        jobs_service_pb2.WatchJobsRequest(filter="resource_type = dataset", send_initial=True, heartbeat_seconds=1)
    )
    kinds = []
    async for response in call:
        kinds.append(response.WhichOneof("body"))
        if kinds[-1] == "initial_end":
            break
    assert set(kinds[:-1]) <= {"snapshot"}
    dataset = await product.ready_dataset(BIG_DATASET)
    deleted = await product.download_dataset(BIG_DATASET)
    assert deleted.dataset.id == dataset.id
    async for response in call:
        assert response.WhichOneof("body") in ("event", "bookmark")
        assert response.resume_token
        break
    call.cancel()


async def test_the_event_log_of_a_job_begins_queued_and_ends_succeeded(product: Product) -> None:
    answer = await product.upload("logged.txt", [b"a line\n"])
    await product.succeeded(answer.job.id)
    events: list[job_pb2.JobEvent] = []
    token = ""
    while True:
        page = await product.jobs.ListJobEvents(
            jobs_service_pb2.ListJobEventsRequest(id=answer.job.id, page_size=2, page_token=token)
        )
        events.extend(page.events)
        token = page.next_page_token
        if not token:
            break
    states = [event.state_changed.state for event in events if event.HasField("state_changed")]
    assert states == [job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING, job_pb2.JOB_STATE_SUCCEEDED]

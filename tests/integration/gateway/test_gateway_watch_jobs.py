"""WatchJobs: many jobs in one stream."""

from __future__ import annotations

import asyncio
import random

import grpc
import pytest

from mistudio.jobs.v1 import jobs_service_pb2 as pb
from tests.integration.gateway.backend_double import RUNNING, SUCCEEDED
from tests.integration.gateway.conftest import House
from tests.integration.gateway.watchers import failure, history, info_of, taken, told_event


async def test_snapshots_of_all_jobs_that_have_not_ended_come_first_then_their_events(house: House, jobs):
    ended, one = await house.script(), await house.script()
    two = await house.models.new_job(resource_type="model")
    await ended.live(reports=1)
    await one.turn(RUNNING)
    call = jobs.WatchJobs(pb.WatchJobsRequest(send_initial=True))
    initial = await taken(call, 3)
    assert {response.snapshot.id for response in initial[:2]} == {one.id, two.id}
    assert [bool(response.resume_token) for response in initial] == [False, False, True]
    assert initial[2].WhichOneof("body") == "initial_end"
    await one.report(1)
    await two.turn(RUNNING)
    new = await house.script()
    assert history(await taken(call, 3)) == [
        f"{one.id[:8]} 1@1",
        f"{two.id[:8]} v2",
        f"{new.id[:8]} v1",
    ]


async def test_a_filter_keeps_other_jobs_out(house: House, jobs):
    wanted = await house.script(kind="tokenize", resource_type="tokenization")
    other = await house.script(kind="download")
    filters = [
        'kind = "datasets.tokenize"',
        f"service = datasets AND resource_id = {wanted.job.resource_id}",
        f"job_id = {wanted.id}",
        "resource_type != dataset",
    ]
    calls = [jobs.WatchJobs(pb.WatchJobsRequest(filter=text, send_initial=True)) for text in filters]
    for call in calls:
        assert history(await taken(call, 2)) == [f"{wanted.id[:8]} snapshot v1 0@0", "initial_end"]
    await other.live(reports=1)
    await wanted.live(reports=1)
    for call in calls:
        assert history(await taken(call, 3)) == [told_event(event) for event in wanted.events[1:]]


async def test_without_initial_a_watch_begins_now_and_says_where_that_is(house: House, jobs):
    script = await house.script()
    call = jobs.WatchJobs(pb.WatchJobsRequest())
    bookmark = (await taken(call, 1))[0]
    assert bookmark.WhichOneof("body") == "bookmark" and bookmark.resume_token
    await script.live(reports=2)
    assert history(await taken(call, 4)) == [told_event(event) for event in script.events[1:]]


@pytest.mark.parametrize("seed", range(2))
async def test_a_watch_of_all_jobs_cut_anywhere_yields_the_uncut_history(house: House, seed):
    chance = random.Random(seed)
    clients = [house.jobs(await house.gateway(ring_bytes=60_000)) for _ in range(2)]
    scripts = [await house.script() for _ in range(4)]
    first_call = clients[0].WatchJobs(pb.WatchJobsRequest(send_initial=True))
    initial = await taken(first_call, 5)
    token = initial[-1].resume_token
    lives = asyncio.gather(*(script.live(reports=25) for script in scripts))
    total = 4 * 27
    cut: list[pb.WatchJobsResponse] = []
    while len(history(cut)) < total:
        call = chance.choice(clients).WatchJobs(pb.WatchJobsRequest(resume_token=token))
        piece = await taken(call, min(chance.randint(1, 20), total - len(history(cut))))
        call.cancel()
        cut += piece
        token = piece[-1].resume_token
    await lives
    uncut = await taken(first_call, total)
    assert history(cut) == history(uncut)
    for script in scripts:
        own = [text for text in history(cut) if text.startswith(script.id[:8])]
        assert own == [told_event(event) for event in script.events[1:]]


async def test_a_watch_of_many_jobs_does_not_end_with_a_job(house: House, jobs):
    script, next_script = await house.script(), await house.script()
    call = jobs.WatchJobs(pb.WatchJobsRequest(heartbeat_seconds=60))
    await taken(call, 1)
    await script.live(reports=0)
    await next_script.turn(SUCCEEDED)
    assert len(history(await taken(call, 3))) == 3
    assert not call.done()


async def test_a_token_of_another_filter_and_a_wrong_filter_are_refused(house: House, jobs):
    token = (await taken(jobs.WatchJobs(pb.WatchJobsRequest(filter="service = models")), 1))[0].resume_token
    same = jobs.WatchJobs(pb.WatchJobsRequest(filter='service  =  "models"', resume_token=token, heartbeat_seconds=1))
    assert len(await taken(same, 1)) == 1
    _, error = await failure(jobs.WatchJobs(pb.WatchJobsRequest(filter="service = datasets", resume_token=token)))
    assert info_of(error).reason == "INVALID_RESUME_TOKEN"
    _, error = await failure(jobs.WatchJobs(pb.WatchJobsRequest(filter="colour = red")))
    assert (error.code(), info_of(error).reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FILTER")


async def test_snapshots_are_not_given_while_a_service_cannot_be_asked(house: House, jobs):
    await house.models.stop()
    _, error = await failure(jobs.WatchJobs(pb.WatchJobsRequest(send_initial=True)))
    assert (error.code(), info_of(error).metadata["backend"]) == (grpc.StatusCode.UNAVAILABLE, "models")

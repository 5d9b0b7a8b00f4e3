"""WatchJob: ordered, unique, resumable on any gateway, and ended with its job."""

from __future__ import annotations

import asyncio
import random
from uuid import uuid4

import grpc
import pytest

from mistudio.jobs.v1 import job_pb2
from mistudio.jobs.v1 import jobs_service_pb2 as pb
from tests.integration.gateway.backend_double import QUEUED, RUNNING, SUCCEEDED
from tests.integration.gateway.conftest import House
from tests.integration.gateway.watchers import failure, history, info_of, taken, told, told_event, until_end


async def test_a_watch_tells_snapshot_then_every_event_once_and_ends_with_the_job(house, jobs):
    script = await house.script()
    call = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    first = await taken(call, 1)
    await script.live(reports=40, attempts=3)
    rest = await taken(call, 10_000)
    assert await call.code() is grpc.StatusCode.OK
    assert told(first[0]).endswith("snapshot v1 0@0")
    assert history(rest) == [told_event(event) for event in script.events[1:]]
    assert rest[-1].event.state_changed.state == SUCCEEDED
    assert all(response.resume_token for response in first + rest)


@pytest.mark.parametrize("seed", range(3))
async def test_a_watch_cut_anywhere_and_resumed_on_any_gateway_yields_the_uncut_history(house: House, seed):
    chance = random.Random(seed)
    clients = [house.jobs(await house.gateway()) for _ in range(2)]
    script = await house.script()
    uncut_call = clients[0].WatchJob(pb.WatchJobRequest(id=script.id))
    uncut = await taken(uncut_call, 1)
    life = asyncio.create_task(script.live(reports=60, attempts=2))
    cut, token, ended = [], "", False
    while not ended:
        call = chance.choice(clients).WatchJob(pb.WatchJobRequest(id=script.id, resume_token=token))
        piece = await taken(call, chance.randint(1, 9))
        ended = len(piece) == 0 or (piece[-1].HasField("event") and piece[-1].event.state_changed.state == SUCCEEDED)
        call.cancel()
        cut += piece
        token = piece[-1].resume_token if piece else token
    await life
    uncut += await taken(uncut_call, 10_000)
    first = cut[0].snapshot
    beyond = [told_event(event) for event in script.events if _is_beyond(event, first)]
    assert history(cut)[1:] == beyond
    assert history(uncut)[1:] == [told_event(event) for event in script.events[1:]]


def _is_beyond(event: job_pb2.JobEvent, snapshot: job_pb2.Job) -> bool:
    if event.HasField("state_changed"):
        return event.state_changed.version > snapshot.version
    return (event.attempt, event.progress.position) > (snapshot.attempt, snapshot.progress.position)


async def test_what_a_snapshot_has_is_not_told_again_however_late_the_log_brings_it(house: House, jobs):
    script = await house.script()
    running = script.commit(RUNNING)
    reports = [script.advance(done) for done in (1, 2, 3)]
    other = house.jobs(await house.gateway())

    uncut = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    snapshot = (await taken(uncut, 1))[0]
    assert told(snapshot).endswith("snapshot v2 1@3")
    for event in (running, *reports):
        await script.publish(event)
    resumed = other.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=snapshot.resume_token))
    await script.report(4)
    fourth = (await taken(resumed, 1))[0]
    again = jobs.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=fourth.resume_token))
    await script.turn(SUCCEEDED)

    expected = [f"{script.id[:8]} 1@4", f"{script.id[:8]} v3"]
    assert history([fourth, *await taken(again, 100)]) == expected
    assert history(await taken(uncut, 100)) == expected


async def test_the_watch_of_a_finished_job_sends_its_snapshot_and_ends(house, jobs):
    script = await house.script()
    await script.live(reports=3)
    responses = await until_end(jobs.WatchJob(pb.WatchJobRequest(id=script.id)))
    assert history(responses) == [f"{script.id[:8]} snapshot v3 1@3"]
    token = responses[0].resume_token
    assert await until_end(jobs.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=token))) == []


async def test_resuming_after_the_terminal_event_ends_at_once_even_when_the_job_was_retried(house, jobs):
    script = await house.script()
    call = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    await taken(call, 1)
    await script.live(reports=1)
    token = (await taken(call, 100))[-1].resume_token
    await script.turn(QUEUED)
    assert await until_end(jobs.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=token))) == []


async def test_zombies_and_repetitions_in_the_log_never_take_a_watcher_back(house, jobs):
    script = await house.script()
    call = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    await taken(call, 1)
    await script.turn(RUNNING)
    zombie = script.advance(1)
    await script.publish(zombie)
    await script.publish(zombie)
    await script.turn(QUEUED)
    await script.turn(RUNNING)
    await script.publish(zombie)
    await script.report(1)
    await script.turn(SUCCEEDED)
    short = script.id[:8]
    expected = ["v2", "1@1", "v3", "v4", "2@1", "v5"]
    assert history(await taken(call, 100)) == [f"{short} {each}" for each in expected]


async def test_bookmarks_keep_a_silent_watch_alive_and_move_its_token_past_other_jobs(house, jobs):
    silent, busy = await house.script(), await house.script()
    call = jobs.WatchJob(pb.WatchJobRequest(id=silent.id, heartbeat_seconds=1))
    first = (await taken(call, 1))[0]
    await busy.live(reports=5)
    bookmark = first
    while bookmark.resume_token == first.resume_token:  # one may come before the other job was heard of
        bookmark = (await taken(call, 1))[0]
        assert bookmark.WhichOneof("body") == "bookmark"
    resumed = jobs.WatchJob(pb.WatchJobRequest(id=silent.id, resume_token=bookmark.resume_token))
    await silent.live(reports=1)
    assert history(await taken(resumed, 100)) == [told_event(event) for event in silent.events[1:]]


async def test_a_token_of_another_job_or_a_damaged_one_is_refused(house, jobs):
    script, other = await house.script(), await house.script()
    token = (await taken(jobs.WatchJob(pb.WatchJobRequest(id=other.id)), 1))[0].resume_token
    damaged = token[:-6] + ("AAAAAA" if not token.endswith("AAAAAA") else "BBBBBB")
    for bad in (token, damaged, "!", "AAAA", "ünlesbar"):
        _, error = await failure(jobs.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=bad)))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert info_of(error).reason == "INVALID_RESUME_TOKEN"


async def test_an_unknown_job_a_malformed_id_and_a_wild_heartbeat_are_refused(house, jobs):
    wrong = [
        (pb.WatchJobRequest(id=str(uuid4())), "JOB_NOT_FOUND"),
        (pb.WatchJobRequest(id="42"), "MALFORMED_ID"),
        (pb.WatchJobRequest(), "MISSING_FIELD"),
        (pb.WatchJobRequest(id=str(uuid4()), heartbeat_seconds=61), "INVALID_FIELD"),
    ]
    for request, reason in wrong:
        _, error = await failure(jobs.WatchJob(request))
        assert info_of(error).reason == reason


async def test_a_job_of_a_service_that_is_away_is_not_called_unknown(house: House, jobs):
    script = await house.script()
    await house.models.stop()
    assert len(await taken(jobs.WatchJob(pb.WatchJobRequest(id=script.id)), 1)) == 1
    _, error = await failure(jobs.WatchJob(pb.WatchJobRequest(id=str(uuid4()))))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(error).metadata["backend"] == "models"


async def test_many_watchers_share_one_standing_consumer(house: House, gateway, jobs):
    script = await house.script()
    calls = [jobs.WatchJob(pb.WatchJobRequest(id=script.id)) for _ in range(50)]
    await asyncio.gather(*(taken(call, 1) for call in calls))
    consumers = await house.consumers()
    await script.live(reports=20)
    stories = [history(await taken(call, 1000)) for call in calls]
    assert consumers == 1
    assert all(story == stories[0] for story in stories)
    assert len(stories[0]) == 22

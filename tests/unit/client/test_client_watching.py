"""Watches tell everything once, whatever happens to their connection."""

from __future__ import annotations

import random
from contextlib import aclosing

import pytest

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_client import Client, HistoryCompacted, LogReplaced, MistudioCallError, Watch
from mistudio_client.watching import OpenStream, WatchSettings
from mistudio_servicekit import errors
from tests.unit.client.conftest import Serve
from tests.unit.client.scripted import END, JOB_ID, Disturbance, ScriptedLog, a_job, end_event, scripted_log

ADD_JOBS = jobs_service_pb2_grpc.add_JobsServiceServicer_to_server
DRAINING = errors.Draining("This gateway is stopping", next_step="Continue at another one")


async def told(watch: Watch[jobs_service_pb2.WatchJobResponse]) -> tuple[list[job_pb2.Job], list[job_pb2.JobEvent]]:
    """The snapshots and events of a watch that ends by itself."""
    updates = [update async for update in watch]
    snapshots = [update.snapshot for update in updates if update.HasField("snapshot")]
    events = [update.event for update in updates if update.HasField("event")]
    assert len(snapshots) + len(events) == len(updates), "bookmarks are kept from the caller"
    return snapshots, events


def streams_of(client: Client) -> OpenStream[jobs_service_pb2.WatchJobResponse]:
    """What opens the streams of a watch of the job, for a watch with settings of its own."""
    return lambda token: client.jobs.WatchJob(
        jobs_service_pb2.WatchJobRequest(id=JOB_ID, resume_token=token), timeout=30
    )


@pytest.mark.parametrize("seed", range(5))
async def test_a_watch_cut_at_random_places_tells_the_uncut_history(
    client: Client, log: ScriptedLog, seed: int
) -> None:
    places = random.Random(seed)
    log.disturbances = [Disturbance(places.randrange(12), places.choice([None, DRAINING])) for _ in range(4)]
    snapshots, events = await told(client.watch_job(JOB_ID))
    assert snapshots == log.snapshots
    assert events == log.events
    assert not log.disturbances
    assert len(log.tokens_seen) == 5


async def test_a_watch_goes_on_at_another_replica_when_its_gateway_is_gone(serve: Serve) -> None:
    logs = [scripted_log(Disturbance(7, silent=True)), scripted_log()]
    replicas = [await serve((ADD_JOBS, log)) for log in logs]
    events: list[job_pb2.JobEvent] = []
    async with Client([replicas[0][1]]) as only_the_first, aclosing(only_the_first.watch_job(JOB_ID)) as watch:
        for _ in range(4):
            events.append((await anext(watch)).event)
        token = watch.resume_token
    async with Client([target for _, target in replicas]) as both:
        await replicas[0][0].stop(None)
        _, rest = await told(both.watch_job(JOB_ID, resume_token=token))
    assert events[1:] + rest == logs[1].events


async def test_a_watch_moves_to_the_other_replica_in_the_middle(serve: Serve) -> None:
    logs = [scripted_log(Disturbance(9, silent=True)) for _ in range(2)]
    replicas = [await serve((ADD_JOBS, log)) for log in logs]
    async with Client([target for _, target in replicas]) as client:
        updates = []
        async with aclosing(client.watch_job(JOB_ID)) as watch:
            async for update in watch:
                updates.append(update)
                if len(updates) == 5:
                    first = 0 if logs[0].tokens_seen else 1
                    logs[1 - first].disturbances.clear()
                    await replicas[first][0].stop(None)
    assert [update.event for update in updates[1:]] == logs[0].events
    assert logs[1 - first].tokens_seen == ["4"]


async def test_snapshots_cut_before_their_end_are_told_once(client: Client, log: ScriptedLog) -> None:
    log.snapshots = [a_job(done) for done in range(3)]
    log.disturbances = [Disturbance(2)]
    async with aclosing(client.watch_jobs("kind = datasets.tokenize", send_initial=True)) as watch:
        updates = [await anext(watch) for _ in range(3 + 1 + END)]
    assert [update.snapshot for update in updates[:3]] == log.snapshots
    assert updates[3].HasField("initial_end")
    assert [update.event for update in updates[4:]] == log.events
    assert log.filters_seen == ["kind = datasets.tokenize"] * 2


async def test_the_token_of_a_watch_that_was_left_continues_exactly_behind_it(client: Client, log: ScriptedLog) -> None:
    async with aclosing(client.watch_job(JOB_ID)) as watch:
        seen = [(await anext(watch)).event for _ in range(8)]
    _, rest = await told(client.watch_job(JOB_ID, resume_token=watch.resume_token))
    assert seen[1:] + rest == log.events


async def test_a_silent_stream_is_left_for_another(client: Client, log: ScriptedLog) -> None:
    log.disturbances = [Disturbance(5, silent=True)]

    settings = WatchSettings(client.target, ends=True, heartbeat_seconds=0.1)
    _, events = await told(Watch(streams_of(client), settings))
    assert events == log.events


async def test_a_watch_that_read_too_slowly_goes_on(client: Client, log: ScriptedLog) -> None:
    slow = errors.SlowReader("The watcher took nothing for 30 s", next_step="Continue with the token")
    log.disturbances = [Disturbance(11, slow)]
    _, events = await told(client.watch_job(JOB_ID))
    assert events == log.events


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            errors.HistoryCompacted(
                "Position 3 is gone", next_step="Watch from the oldest", metadata={"oldest_resume_token": "17"}
            ),
            HistoryCompacted,
        ),
        (errors.LogReplaced("The log was begun anew", next_step="Watch without a token"), LogReplaced),
        (errors.JobNotFound.of(JOB_ID), MistudioCallError),
    ],
)
async def test_what_cannot_be_resumed_is_told(
    client: Client, log: ScriptedLog, error: errors.MistudioError, kind: type[MistudioCallError]
) -> None:
    log.disturbances = [Disturbance(0, error)]
    with pytest.raises(kind) as raised:
        await told(client.watch_job(JOB_ID, resume_token="3"))
    assert raised.value.reason == error.reason.value
    assert raised.value.message == error.message
    assert raised.value.metadata == error.metadata


async def test_following_a_job_survives_the_loss_of_the_log(client: Client, log: ScriptedLog) -> None:
    log.disturbances = [Disturbance(5, errors.LogReplaced("The log was begun anew", next_step="Watch without a token"))]
    jobs = [job async for job in client.follow(JOB_ID)]
    assert jobs[-1].state == job_pb2.JOB_STATE_SUCCEEDED
    assert log.tokens_seen == ["", ""]


async def test_following_a_job_shows_its_progress_up_to_its_end(client: Client, log: ScriptedLog) -> None:
    jobs = [job async for job in client.follow(JOB_ID)]
    assert [job.progress.done for job in jobs] == [0, *range(0, 100, 5), 100]
    assert {job.kind for job in jobs} == {"datasets.tokenize"}
    assert jobs[-1] == end_event().state_changed


async def test_a_finished_jobs_watch_is_its_snapshot(client: Client, log: ScriptedLog) -> None:
    log.snapshots = [a_job(100, job_pb2.JOB_STATE_SUCCEEDED)]
    assert await told(client.watch_job(JOB_ID)) == (log.snapshots, [])


async def test_a_watch_that_was_cut_behind_the_last_event_just_ends(client: Client, log: ScriptedLog) -> None:
    assert await told(client.watch_job(JOB_ID, resume_token=str(END))) == ([], [])


async def test_a_watch_gives_up_when_no_gateway_answers_for_long(client: Client, log: ScriptedLog) -> None:
    log.disturbances = [Disturbance(0)] * 100

    settings = WatchSettings(client.target, ends=True, patience_seconds=1.0)
    with pytest.raises(MistudioCallError, match="did not answer"):
        await told(Watch(streams_of(client), settings))
    assert len(log.tokens_seen) > 1


async def test_every_stream_has_a_deadline(client: Client, log: ScriptedLog) -> None:
    await told(client.watch_job(JOB_ID))
    assert all(seconds is not None and seconds < 2 * 3600 for seconds in log.deadlines_seen)

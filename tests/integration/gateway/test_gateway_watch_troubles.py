"""Watches in bad times: slow readers, stopping gateways, logs that lose their past or themselves."""

from __future__ import annotations

import asyncio

import grpc

from mistudio.jobs.v1 import jobs_service_pb2 as pb
from mistudio_gateway.server import Gateway
from mistudio_jobs.streams import EVENTS, declare_events
from tests.integration.gateway.backend_double import RUNNING, SUCCEEDED
from tests.integration.gateway.conftest import House, until_following
from tests.integration.gateway.watchers import failure, history, info_of, taken, told_event

# More than gRPC buffers on the way between a gateway and a client that does not read (some 6 MB here).
_REPORTS, _REPORT_BYTES = 400, 40_000


async def _live_large(script) -> None:
    """A life whose reports are too large to be buffered."""
    await script.turn(RUNNING)
    for done in range(_REPORTS):
        event = script.advance(done)
        event.progress.stage = "x" * _REPORT_BYTES
        await script.publish(event)
    await script.turn(SUCCEEDED)


async def test_a_slow_reader_loses_nothing_and_holds_nobody_up(house: House):
    jobs = house.jobs(await house.gateway(ring_bytes=1_000_000))
    script = await house.script()
    slow = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    quick = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    for call in (slow, quick):
        await taken(call, 1)
    reading = asyncio.create_task(taken(quick, 10_000))
    await _live_large(script)
    expected = [told_event(event) for event in script.events[1:]]
    assert history(await reading) == expected
    assert history(await taken(slow, 10_000)) == expected


async def test_a_stuck_reader_is_ended_with_a_token_that_continues_exactly(house: House):
    jobs = house.jobs(await house.gateway(blocked_seconds=0.3))
    script = await house.script()
    stuck = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    first = await taken(stuck, 1)
    await _live_large(script)
    await house.until_watchers_are_gone()
    rest, error = await failure(stuck)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    info = info_of(error)
    assert info.reason == "SLOW_READER"
    assert info.metadata["resume_token"] == rest[-1].resume_token
    resumed = jobs.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=info.metadata["resume_token"]))
    more = await taken(resumed, 10_000)
    assert history(first + rest + more)[1:] == [told_event(event) for event in script.events[1:]]


async def test_a_stopping_gateway_sends_a_bookmark_and_its_watchers_go_on_elsewhere(house: House, jobs):
    script = await house.script()
    async with Gateway(house.config) as leaving:
        await until_following(leaving)
        call = house.jobs(leaving).WatchJob(pb.WatchJobRequest(id=script.id))
        await taken(call, 1)
        await script.turn(RUNNING)
        await taken(call, 1)
        end = asyncio.create_task(failure(call))
    responses, error = await end
    assert [response.WhichOneof("body") for response in responses] == ["bookmark"]
    assert (error.code(), info_of(error).reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    await script.report(1)
    resumed = jobs.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=responses[-1].resume_token))
    assert history(await taken(resumed, 1)) == [f"{script.id[:8]} 1@1"]


async def test_a_place_that_the_log_no_longer_holds_is_refused_with_the_oldest_one(house: House, jobs):
    script = await house.script()
    call = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    token = (await taken(call, 1))[0].resume_token
    call.cancel()
    await script.turn(RUNNING)
    await script.report(1)
    kept = await script.report(2)
    await house.client.jetstream().purge_stream(EVENTS, seq=kept)
    late = house.jobs(await house.gateway())
    _, error = await failure(late.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=token)))
    assert (error.code(), info_of(error).reason) == (grpc.StatusCode.OUT_OF_RANGE, "HISTORY_COMPACTED")
    oldest = info_of(error).metadata["oldest_resume_token"]
    resumed = late.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=oldest))
    assert history(await taken(resumed, 1)) == [f"{script.id[:8]} 1@2"]


async def test_a_log_that_was_replaced_ends_watches_and_voids_their_tokens(house: House, gateway, jobs):
    script = await house.script()
    call = jobs.WatchJob(pb.WatchJobRequest(id=script.id, heartbeat_seconds=60))
    token = (await taken(call, 1))[0].resume_token
    js = house.client.jetstream()
    await js.delete_stream(EVENTS)
    await declare_events(js)
    _, error = await failure(call)
    assert (error.code(), info_of(error).reason) == (grpc.StatusCode.DATA_LOSS, "LOG_REPLACED")
    _, error = await failure(jobs.WatchJob(pb.WatchJobRequest(id=script.id, resume_token=token)))
    assert error.code() is grpc.StatusCode.DATA_LOSS
    fresh = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    await taken(fresh, 1)
    await script.turn(SUCCEEDED)
    assert history(await taken(fresh, 2)) == [f"{script.id[:8]} v2"]


async def test_watches_go_on_over_a_restart_of_nats(house: House, jobs):
    script = await house.script()
    call = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    await taken(call, 1)
    await script.turn(RUNNING)
    await asyncio.to_thread(house.nats.process.restart)
    await house.until_connected()
    await script.report(1)
    await script.turn(SUCCEEDED)
    assert history(await taken(call, 10)) == [told_event(event) for event in script.events[1:]]


async def test_watches_go_on_when_the_standing_consumer_is_lost(house: House, jobs):
    script = await house.script()
    call = jobs.WatchJob(pb.WatchJobRequest(id=script.id))
    await taken(call, 1)
    js = house.client.jetstream()
    for consumer in await js.consumers_info(EVENTS):
        await js.delete_consumer(EVENTS, consumer.name)
    await script.live(reports=2)
    assert history(await taken(call, 10)) == [told_event(event) for event in script.events[1:]]

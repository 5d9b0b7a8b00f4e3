"""A job's ordinary life: submitted, run, watched, ended."""

from __future__ import annotations

from dataclasses import replace

from mistudio.jobs.v1 import job_pb2 as pb
from mistudio_jobs.testing import QUICK, Stand
from mistudio_servicekit.storage import Area


def states(events: list[pb.JobEvent]) -> list[str]:
    """The states that `events` tell of, without their prefix."""
    told = [event.state_changed.state for event in events if event.HasField("state_changed")]
    return [pb.JobState.Name(state).removeprefix("JOB_STATE_") for state in told]


async def test_a_submitted_job_runs_and_keeps_its_result_and_folder(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit([["write", "a.txt", "content"], ["report", 1, 2], ["report", 2, 2]])
        done = await stand.ended(job)
    assert done.state == "SUCCEEDED"
    assert done.result is not None and done.result["attempt"] == 1
    assert done.progress is not None and done.progress["fraction"] == 1.0
    folder = stand.store.epoch(Area.DATASETS, done.resource_id, done.epoch)
    assert (folder / "a.txt").read_text() == "content"
    assert await stand.effects(job) == ["started", "succeeded"]


async def test_the_log_tells_a_job_in_order_and_without_repetition(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit([["count", 40, 0.6]])
        done = await stand.ended(job)
        events = await stand.history(job)
    assert states(events) == ["QUEUED", "RUNNING", "SUCCEEDED"]
    assert [event.state_changed.version for event in events if event.HasField("state_changed")] == [1, 2, 3]
    reports = [event.progress for event in events if event.HasField("progress")]
    assert [report.position for report in reports] == sorted({report.position for report in reports})
    assert reports[0].done == 1 and reports[-1].done == 40
    assert done.started_at and done.finished_at
    assert len(reports) <= 2 + 10 * (done.finished_at - done.started_at).total_seconds(), "at most ten a second"
    assert events[0].HasField("state_changed") and events[1].HasField("state_changed")


async def test_a_job_that_ends_while_its_lease_is_renewed_leaves_the_child_to_the_next(stand: Stand) -> None:
    async with stand.worker(timing=replace(QUICK, renew=0.001)):
        jobs = [await stand.submit() for _ in range(30)]
        ended = [await stand.ended(job) for job in jobs]
    assert {(job.state, job.attempt) for job in ended} == {("SUCCEEDED", 1)}
    assert len({job.result["pid"] for job in ended if job.result}) == 1

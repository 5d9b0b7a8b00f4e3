"""Failures: retried, final, and what their users are told."""

from __future__ import annotations

import signal
from pathlib import Path

from mistudio_jobs import queue
from mistudio_jobs.tables import JobAttempt
from mistudio_jobs.testing import RESUMABLE, Stand, scripted_kind
from mistudio_servicekit.errors import HubRateLimited, HubUnavailable, MalformedFile
from mistudio_servicekit.storage import Area

UNAVAILABLE = HubUnavailable("The Hub answers 503", next_step="Wait").to_record()
LIMITED = HubRateLimited("The Hub answers 429", next_step="Wait", retry_after_seconds=1.2).to_record()
MALFORMED = MalformedFile("Row 3 is no JSON", next_step="Repair it").to_record()


async def attempts(stand: Stand, job: object) -> list[JobAttempt]:
    """The attempts of a job, oldest first."""
    async with stand.database.transaction() as session:
        return list(await queue.attempts(session, job.id))  # type: ignore[attr-defined]  # a Job


async def test_a_passing_failure_is_tried_again_and_its_error_is_kept_with_the_attempt(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit(payload={"attempt 1": [["fail", UNAVAILABLE]], "steps": []})
        waiting = await stand.reached(job, "RETRY_WAIT", "SUCCEEDED")
        assert waiting.state == "SUCCEEDED" or (waiting.error and waiting.error["reason"] == "HUB_UNAVAILABLE")
        done = await stand.ended(job)
    assert (done.state, done.attempt, done.error) == ("SUCCEEDED", 2, None)
    assert [each.outcome for each in await attempts(stand, job)] == ["failed", "succeeded"]
    assert await stand.effects(job) == ["started", "requeued", "started", "succeeded"]


async def test_a_retry_waits_as_long_as_the_server_asked(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit(payload={"attempt 1": [["fail", LIMITED]], "steps": []})
        await stand.ended(job)
    first, second = await attempts(stand, job)
    assert first.finished_at and (second.started_at - first.finished_at).total_seconds() >= 1.2


async def test_a_job_fails_for_good_after_its_last_attempt(stand: Stand) -> None:
    stand.kinds = [kind := scripted_kind("twice", max_attempts=2)]
    async with stand.worker():
        await stand.engine.stop()
        stand.engine = stand.new_engine()
        await stand.engine.start()
        job = await stand.submit([["write", "part", "x"], ["fail", UNAVAILABLE]], kind=kind)
        failed = await stand.ended(job)
    assert (failed.state, failed.attempt) == ("FAILED", 2)
    assert failed.error and failed.error["reason"] == "HUB_UNAVAILABLE"
    assert not stand.store.resource(Area.DATASETS, failed.resource_id).exists()
    assert await stand.effects(job) == ["started", "requeued", "started", "failed"]


async def test_a_permanent_failure_is_final_at_once_and_leaves_no_folder(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit([["write", "part", "x"], ["fail", MALFORMED]])
        failed = await stand.ended(job)
    assert (failed.state, failed.attempt) == ("FAILED", 1)
    assert failed.error and failed.error["failure"] == "VALIDATION"
    assert not stand.store.resource(Area.DATASETS, failed.resource_id).exists()


async def test_an_unexpected_fault_is_told_by_its_incident_and_not_by_its_text(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit([["fault", "secret details of a driver"]])
        failed = await stand.ended(job)
    assert failed.state == "FAILED" and failed.error
    assert failed.error["metadata"]["incident"] in failed.error["problem"]
    assert "secret details" not in str(failed.error)


async def test_a_full_disk_and_a_lack_of_memory_are_told_as_such(stand: Stand) -> None:
    async with stand.worker():
        full = await stand.ended(await stand.submit([["disk_full"]]))
        short = await stand.ended(await stand.submit([["memory_error"]]))
    assert full.error and full.error["failure"] == "DISK_FULL"
    assert short.error and short.error["failure"] == "OOM"


async def test_a_child_that_grows_past_its_limit_fails_its_job_and_is_replaced(stand: Stand) -> None:
    async with stand.worker(memory_limit_bytes=400 << 20):
        job = await stand.submit([["allocate", 600 << 20]])
        failed = await stand.ended(job)
        after = await stand.ended(await stand.submit())
    assert failed.error and failed.error["failure"] == "OOM" and failed.attempt == 1
    assert after.state == "SUCCEEDED"


async def test_a_crashed_child_costs_an_attempt_and_the_next_runs_in_a_fresh_one(stand: Stand) -> None:
    async with stand.worker():
        job = await stand.submit(payload={"attempt 1": [["die", signal.SIGSEGV]], "steps": []})
        done = await stand.ended(job)
    assert (done.state, done.attempt) == ("SUCCEEDED", 2)
    first = (await attempts(stand, job))[0]
    assert first.error and "SIGSEGV" in first.error["problem"] and first.error["reason"] == "WORKER_LOST"


async def test_the_child_is_the_same_process_from_job_to_job(stand: Stand) -> None:
    async with stand.worker():
        done = [await stand.ended(await stand.submit()) for _ in range(3)]
    assert len({job.result["pid"] for job in done if job.result}) == 1


async def test_a_resumable_job_finds_the_files_of_its_last_attempt_and_another_does_not(stand: Stand) -> None:
    payload = {"attempt 1": [["write", "half", "x"], ["fail", UNAVAILABLE]], "steps": [["list"]]}
    async with stand.worker():
        resumed = await stand.ended(await stand.submit(kind=RESUMABLE, payload=payload))
        afresh = await stand.ended(await stand.submit(payload=payload))
    assert resumed.result and resumed.result["files"] == ["half"]
    assert afresh.result and afresh.result["files"] == []
    folders = stand.store.resource(Area.DATASETS, resumed.resource_id)
    assert [path.name for path in Path(folders).iterdir()] == [str(resumed.epoch)]

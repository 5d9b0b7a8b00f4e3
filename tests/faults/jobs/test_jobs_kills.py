"""Workers and their children are killed and stopped at bad moments: no job is lost, none has its effect twice."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil

from mistudio.jobs.v1 import job_pb2 as pb
from mistudio_jobs.tables import Job
from mistudio_jobs.testing import RESUMABLE, Stand
from mistudio_servicekit.storage import Area

StartWorker = Callable[..., Awaitable[Process]]


async def written(path: Path) -> str:
    """What is in the file `path`, once a handler has made it."""
    async with asyncio.timeout(100):
        while not (path.exists() and path.read_text()):
            await asyncio.sleep(0.01)
    return path.read_text()


async def gone(pid: int) -> None:
    """Wait until the process `pid` has ended."""
    async with asyncio.timeout(100):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)


def told(events: list[pb.JobEvent]) -> list[tuple[int, int]]:
    """Attempt and progress position (0 for a state) of each event."""
    return [(event.attempt, event.progress.position if event.HasField("progress") else 0) for event in events]


def assert_clean(events: list[pb.JobEvent]) -> None:
    """States in order of version, attempts and positions growing, one end, and it last."""
    versions = [event.state_changed.version for event in events if event.HasField("state_changed")]
    assert versions == list(range(1, len(versions) + 1))
    attempts = [event.attempt for event in events]
    assert attempts == sorted(attempts)
    reports = [each for each in told(events) if each[1]]
    assert reports == sorted(set(reports))
    ends = [event for event in events if event.state_changed.state >= pb.JOB_STATE_SUCCEEDED]
    assert ends == [events[-1]]


def folders(stand: Stand, job: Job) -> list[str]:
    """Names of the folders of the job's resource."""
    return sorted(path.name for path in stand.store.resource(Area.DATASETS, job.resource_id).glob("*"))


async def test_a_job_whose_worker_is_killed_is_done_by_another(
    stand: Stand, start_worker: StartWorker, tmp_path: Path
) -> None:
    first = await start_worker()
    on = tmp_path / "on"
    payload = {
        "attempt 1": [["write", "half", "x"], ["report", 1, 2], ["signal", str(on)], ["wait", "/never"]],
        "steps": [["list"], ["write", "whole", "y"], ["report", 2, 2]],
    }
    job = await stand.submit(kind=RESUMABLE, payload=payload)
    child = int(await written(on))
    first.kill()
    await gone(child)
    await start_worker()
    done = await stand.ended(job)
    assert (done.state, done.attempt) == ("SUCCEEDED", 2)
    assert done.result and done.result["files"] == ["half"], "a resumable job goes on where it was"
    assert folders(stand, done) == [str(done.epoch)]
    effects = await stand.effects(job)
    assert effects.count("succeeded") == 1
    assert_clean(await stand.history(job))


async def test_what_a_child_has_started_dies_with_its_worker(
    stand: Stand, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = await start_worker()
    await stand.submit([["fork", str(tmp_path / "grandchild")], ["signal", str(tmp_path / "on")], ["wait", "/never"]])
    child, grandchild = int(await written(tmp_path / "on")), int(await written(tmp_path / "grandchild"))
    os.kill(child, signal.SIGSTOP)
    worker.kill()
    await gone(child)
    await gone(grandchild)


async def test_a_job_whose_child_is_killed_is_tried_again(
    stand: Stand, start_worker: StartWorker, tmp_path: Path
) -> None:
    await start_worker()
    on = tmp_path / "on"
    job = await stand.submit(payload={"attempt 1": [["signal", str(on)], ["wait", "/never"]], "steps": []})
    os.kill(int(await written(on)), signal.SIGKILL)
    done = await stand.ended(job)
    assert (done.state, done.attempt) == ("SUCCEEDED", 2)
    assert_clean(await stand.history(job))


async def test_a_worker_that_was_stopped_for_long_can_neither_finish_nor_publish(
    stand: Stand, start_worker: StartWorker, tmp_path: Path
) -> None:
    zombie = await start_worker()
    on, go = tmp_path / "on", tmp_path / "go"
    payload = {
        "attempt 1": [
            ["write", "a", "old"],
            ["report", 1, 9],
            ["signal", str(on)],
            ["wait_deaf", str(go)],
            ["report", 9, 9],
        ],
        "steps": [["write", "a", "new"], ["report", 1, 9]],
    }
    job = await stand.submit(payload=payload)
    child = int(await written(on))
    zombie.send_signal(signal.SIGSTOP)
    await start_worker()
    done = await stand.ended(job)
    go.write_text("go")  # the zombie's child ends its work, and then the zombie wakes up
    zombie.send_signal(signal.SIGCONT)
    await written(go)
    after = await stand.submit()
    await stand.ended(after)
    assert (done.state, done.attempt) == ("SUCCEEDED", 2)
    assert (stand.store.epoch(Area.DATASETS, done.resource_id, done.epoch) / "a").read_text() == "new"
    zombie.send_signal(signal.SIGTERM)
    await zombie.wait()
    await gone(child)
    assert folders(stand, done) == [str(done.epoch)]
    events = await stand.history(job)
    assert_clean(events)
    assert (1, 2) not in told(events), "the zombie's last report"
    assert (await stand.effects(job)).count("succeeded") == 1


async def test_a_child_that_was_stopped_holds_its_job_no_longer_than_its_user_wishes(
    stand: Stand, start_worker: StartWorker, tmp_path: Path
) -> None:
    await start_worker()
    job = await stand.submit([["signal", str(tmp_path / "on")], ["wait", "/never"]])
    os.kill(int(await written(tmp_path / "on")), signal.SIGSTOP)
    await stand.cancel(job)
    assert (await stand.reached(job, "CANCELLED")).state == "CANCELLED"


async def test_a_stopping_worker_gives_its_job_back_at_no_cost(
    stand: Stand, start_worker: StartWorker, tmp_path: Path
) -> None:
    worker = await start_worker()
    on = tmp_path / "on"
    payload = {"attempt 1": [["write", "half", "x"], ["signal", str(on)], ["wait", "/never"]], "steps": [["list"]]}
    job = await stand.submit(kind=RESUMABLE, payload=payload)
    await written(on)
    worker.terminate()
    assert await worker.wait() == 0
    queued = await stand.job(job)
    assert (queued.state, queued.max_attempts) == ("QUEUED", 6)
    await start_worker()
    done = await stand.ended(job)
    assert done.result and done.result["files"] == ["half"]
    assert_clean(await stand.history(job))


async def test_a_stopping_worker_lets_a_short_job_end(stand: Stand, start_worker: StartWorker, tmp_path: Path) -> None:
    worker = await start_worker(drain="100")
    on, go = tmp_path / "on", tmp_path / "go"
    job = await stand.submit([["signal", str(on)], ["wait", str(go)]])
    await written(on)
    worker.terminate()
    go.write_text("go")
    assert await worker.wait() == 0
    assert (await stand.job(job)).state == "SUCCEEDED"


async def test_many_jobs_survive_workers_that_are_killed_at_random(
    stand: Stand, start_worker: StartWorker, fault_rounds: int
) -> None:
    workers = [await start_worker() for _ in range(2)]
    jobs = [await stand.submit([["write", "a", "x"], ["count", 5, 0.05]], kind=RESUMABLE) for _ in range(12)]
    for number in range(2 * fault_rounds):
        await stand.reached(jobs[number], "SUCCEEDED", "FAILED", "RUNNING")
        workers[number % 2].kill()
        workers[number % 2] = await start_worker()
    ended = [await stand.ended(job) for job in jobs]
    assert {job.state for job in ended} == {"SUCCEEDED"}
    for job in ended:
        assert (await stand.effects(job)).count("succeeded") == 1
        assert_clean(await stand.history(job))
        assert folders(stand, job) == [str(job.epoch)]

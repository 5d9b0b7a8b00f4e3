"""NATS and Postgres go away and come back, NATS even without its data: no job is lost."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from mistudio_jobs.testing import Stand
from mistudio_local.nats import NatsServer


async def written(path: Path) -> None:
    """Wait until a handler has made the file `path`."""
    async with asyncio.timeout(100):
        while not path.exists():
            await asyncio.sleep(0.01)


async def test_jobs_submitted_while_nats_is_away_run_when_it_is_back(stand: Stand, nats_server: NatsServer) -> None:
    async with stand.worker():
        await stand.ended(await stand.submit())
        await asyncio.to_thread(nats_server.stop)
        jobs = [await stand.submit() for _ in range(5)]
        await asyncio.to_thread(nats_server.start)
        ended = [await stand.ended(job) for job in jobs]
    assert {job.state for job in ended} == {"SUCCEEDED"}


async def test_a_job_that_runs_while_nats_is_away_ends_and_its_events_follow(
    stand: Stand, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with stand.worker():
        on, go = tmp_path / "on", tmp_path / "go"
        job = await stand.submit([["report", 1, 2], ["signal", str(on)], ["wait", str(go)], ["report", 2, 2]])
        await written(on)
        await asyncio.to_thread(nats_server.stop)
        go.write_text("go")
        done = await stand.ended(job)
        await asyncio.to_thread(nats_server.start)
        events = await stand.history(job)
    assert (done.state, done.attempt) == ("SUCCEEDED", 1)
    assert [event.state_changed.version for event in events if event.HasField("state_changed")] == [1, 2, 3]


async def test_the_total_loss_of_nats_loses_no_job(stand: Stand, nats_server: NatsServer, tmp_path: Path) -> None:
    on, go = tmp_path / "on", tmp_path / "go"
    async with stand.worker():
        running = await stand.submit([["signal", str(on)], ["wait", str(go)], ["report", 1, 1]])
        await written(on)
        waiting = [await stand.submit() for _ in range(3)]
        await asyncio.to_thread(nats_server.stop)
        shutil.rmtree(nats_server.folder / "jetstream")
        await asyncio.to_thread(nats_server.start)
        go.write_text("go")
        ended = [await stand.ended(job) for job in [running, *waiting]]
    assert {job.state for job in ended} == {"SUCCEEDED"}
    assert {job.attempt for job in ended} == {1}

"""Cancelling many jobs at once whose resources go with them."""

from __future__ import annotations

from pathlib import Path

from mistudio_jobs.testing import Stand

from .test_jobs_cancel import started


async def test_abandoned_jobs_are_cancelled_together_without_a_word_to_their_resources(
    stand: Stand, tmp_path: Path
) -> None:
    async with stand.worker():
        done = await stand.submit()
        await stand.ended(done)
        running = await stand.submit([["signal", str(tmp_path / "on")], ["wait", "/never"]])
        await started(tmp_path / "on")
        waiting, other = [await stand.submit() for _ in range(3)], await stand.submit()
        every = [job.id for job in (done, running, *waiting)]
        async with stand.engine.transaction() as session:
            await stand.engine.lock(session, every)
            await stand.engine.abandon(session, every)
        await stand.reached(running, "CANCELLED")
        assert [(await stand.job(job)).state for job in [done, *waiting]] == ["SUCCEEDED", *["CANCELLED"] * 3]
        await stand.ended(other)
        assert [event.state_changed.state for event in await stand.history(waiting[0])] == [1, 7]
        assert [event.state_changed.state for event in await stand.history(running)] == [1, 2, 4, 7]
    assert await stand.effects(waiting[0]) == []


async def test_nothing_to_abandon_is_no_error(stand: Stand) -> None:
    async with stand.engine.transaction() as session:
        await stand.engine.lock(session, [])
        await stand.engine.abandon(session, [])

"""What a worker's child keeps from job to job: told before whoever rests on it, and acted on by commands."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from mistudio_jobs.presence import WorkerInfo
from mistudio_jobs.testing import KEPT, QUICK, Stand
from mistudio_jobs.testing_keeper import SHELF
from mistudio_servicekit.errors import MistudioError, NotServedHere, ResourceInUse, Unavailable

from .test_jobs_cancel import started

RARELY = replace(QUICK, look=60.0)
"""The child tells what it keeps only when it has to: before the end of a job, and before an answer."""

IN_USE = ResourceInUse("The shelf is full", next_step="Drop a name", metadata={"names": "3"}).to_record()


async def seen(stand: Stand, fits: Callable[[WorkerInfo], bool] = lambda _: True) -> WorkerInfo:
    """The only worker, once `fits`."""
    async with asyncio.timeout(100):
        while True:
            found = await stand.engine.workers(None)
            if len(found) == 1 and fits(found[0]):
                return found[0]
            await asyncio.sleep(0.01)


async def kept(stand: Stand) -> WorkerInfo:
    """The only worker, once its child has told something."""
    return await seen(stand, lambda worker: bool(worker.state))


async def ask(stand: Stand, do: str, argument: object = None, seconds: float = 20.0) -> Mapping[str, Any]:
    """The answer of the only worker's shelf."""
    worker = await kept(stand)
    return await stand.engine.command(worker.name, {"do": do, "with": argument}, seconds=seconds)


async def test_whoever_sees_a_job_succeeded_sees_what_it_left_with_its_worker(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF, settings={"budget": "7"}, timing=RARELY):
        for number in range(8):
            job = await stand.submit([["keep", f"name {number}"]])
            assert (await stand.ended(job)).state == "SUCCEEDED"
            (worker,) = await stand.engine.workers(None)
            assert worker.state["names"] == [f"name {each}" for each in range(number + 1)]
    assert worker.state["settings"] == {"budget": "7"}


async def test_a_command_is_answered_while_a_job_runs_and_its_change_is_told_before(
    stand: Stand, tmp_path: Path
) -> None:
    async with stand.worker(keeper=SHELF, timing=RARELY):
        job = await stand.submit([["signal", str(tmp_path / "on")], ["wait", str(tmp_path / "go")]])
        await stand.reached(job, "RUNNING")
        for number in range(5):
            assert await ask(stand, "put", f"name {number}")
            (worker,) = await stand.engine.workers(None)
            assert len(worker.state["names"]) == number + 1
        assert (await stand.job(job)).state == "RUNNING"
        (tmp_path / "go").write_text("go")
        assert (await stand.ended(job)).state == "SUCCEEDED"


async def test_commands_come_one_at_a_time_and_each_gets_its_own_answer(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF):
        answers = await asyncio.gather(*(ask(stand, "put", f"{number:02}") for number in range(20)))
    assert sorted(len(answer["names"]) for answer in answers) == list(range(1, 21))


async def test_errors_of_a_command_keep_their_type_and_the_child_lives_on(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF):
        before = (await kept(stand)).state["pid"]
        with pytest.raises(MistudioError) as refused:
            await ask(stand, "fail", IN_USE)
        assert refused.value.to_record() == IN_USE
        with pytest.raises(MistudioError, match="incident") as fault:
            await ask(stand, "fault", "secret detail")
        assert fault.value.reason == "INTERNAL" and "secret" not in fault.value.message
        assert (await ask(stand, "put", "a"))["names"] == ["a"]
        assert (await kept(stand)).state["pid"] == before


async def test_a_keeper_that_cannot_tell_its_state_ends_neither_child_nor_jobs(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF):
        await ask(stand, "put", "a")
        before = await kept(stand)
        await ask(stand, "break", True)
        done = await stand.ended(await stand.submit([["keep", "b"]]))
        assert done.state == "SUCCEEDED" and done.result and done.result["pid"] == before.state["pid"]
        assert (await kept(stand)).state == before.state, "it is known as it told of itself last"
        await ask(stand, "break", False)
        await seen(stand, lambda worker: worker.state["names"] == ["a", "b"])


async def test_a_handler_of_a_worker_without_keeper_has_none_and_its_worker_takes_no_commands(stand: Stand) -> None:
    async with stand.worker():
        done = await stand.ended(await stand.submit([["has_keeper"]]))
        assert done.result and done.result["has_keeper"] is False
        worker = await seen(stand)
        assert worker.state == {}
        with pytest.raises(MistudioError, match=worker.name) as refused:
            await stand.engine.command(worker.name, {"do": "put"}, seconds=20)
    assert refused.value.reason == NotServedHere.reason


@pytest.mark.parametrize("name", ["nobody", "", "a.b c*>", "ü" * 5000])
async def test_a_worker_that_is_not_there_is_named_and_unavailable(stand: Stand, name: str) -> None:
    with pytest.raises(Unavailable, match=f"No worker '{name[:20].replace('*', '[*]')}"):
        await stand.engine.command(name, {}, seconds=20)
    assert stand.engine.healthy


async def test_a_worker_that_does_not_answer_in_time_is_unavailable_and_answers_the_next(
    stand: Stand, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    async with stand.worker(keeper=SHELF):
        worker = await kept(stand)
        with pytest.raises(Unavailable, match=f"{worker.name}' did not answer within 0.2 seconds"):
            await ask(stand, "wait", str(go), seconds=0.2)
        go.write_text("go")
        assert (await ask(stand, "put", "a"))["names"] == ["a"]


async def test_a_worker_of_any_name_hears_its_commands(stand: Stand) -> None:
    name = "gpu 0.host*example>ü%"
    async with stand.worker(keeper=SHELF, name=name), stand.worker(keeper=SHELF, name="another"):
        async with asyncio.timeout(100):
            while [bool(worker.state) for worker in await stand.engine.workers(None)] != [True, True]:
                await asyncio.sleep(0.01)
        await stand.engine.command(name, {"do": "put", "with": "a"}, seconds=20)
        names = {worker.name: worker.state["names"] for worker in await stand.engine.workers(None)}
    assert names == {name: ["a"], "another": []}


async def test_a_cancelled_job_may_take_its_time_to_stop_where_others_need_what_its_child_keeps(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF, timing=replace(QUICK, cancel_grace=0.05, keeping_grace=60.0)):
        await ask(stand, "put", "a")
        before = await kept(stand)
        job = await stand.submit([["linger", 0.5]])
        await stand.reached(job, "RUNNING")
        await stand.cancel(job)
        await stand.reached(job, "CANCELLED")
        assert (await kept(stand)).state == before.state
        assert (await stand.ended(await stand.submit([["keep", "b"]]))).state == "SUCCEEDED"
        assert (await kept(stand)).state["pid"] == before.state["pid"]


async def test_a_cancelled_job_that_never_stops_ends_with_all_that_its_child_keeps(
    stand: Stand, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with stand.worker(keeper=SHELF, timing=replace(QUICK, cancel_grace=60.0, keeping_grace=0.2)):
        await ask(stand, "put", "a")
        job = await stand.submit([["signal", str(tmp_path / "on")], ["wait_deaf", "/never"]])
        await started(tmp_path / "on")
        await stand.cancel(job)
        await stand.reached(job, "CANCELLED")
        await seen(stand, lambda worker: worker.state.get("names") == [])
    assert f"Job {job.id} did not stop when it was cancelled" in caplog.text


async def test_a_worker_that_stops_gives_a_job_back_at_once_whose_result_would_go_with_it(
    stand: Stand, tmp_path: Path
) -> None:
    async with stand.worker(keeper=SHELF, timing=replace(QUICK, drain=3600.0)):
        job = await stand.submit([["wait", str(tmp_path / "go")], ["keep", "a"]], kind=KEPT)
        await stand.reached(job, "RUNNING")
    (tmp_path / "go").write_text("go")
    async with stand.worker(keeper=SHELF):
        assert (await stand.ended(job)).state == "SUCCEEDED"
        assert (await kept(stand)).state["names"] == ["a"]


async def test_what_a_dead_child_held_is_gone_at_once_and_the_next_one_answers(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    async with stand.worker(keeper=SHELF):
        await ask(stand, "put", "a")
        dead = (await kept(stand)).state["pid"]
        os.kill(dead, signal.SIGKILL)
        await seen(stand, lambda worker: worker.state == {})
        after = await kept(stand)
        assert after.state["names"] == [] and after.state["pid"] != dead
    assert f"The job process {dead} was killed by SIGKILL, and what it kept is gone" in caplog.text


async def test_a_job_whose_child_dies_ends_only_after_its_worker_holds_nothing(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF, timing=RARELY):
        await ask(stand, "put", "a")
        job = await stand.submit([["die", int(signal.SIGKILL)]])
        await stand.reached(job, "RETRY_WAIT", "FAILED")
        (worker,) = await stand.engine.workers(None)
        assert worker.state.get("names", []) == []


async def test_a_child_that_ends_in_the_middle_of_a_command_is_told(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF):
        name = (await kept(stand)).name
        with pytest.raises(MistudioError, match=f"worker {name} ended in the middle") as caught:
            await ask(stand, "die")
        assert caught.value.code == "UNAVAILABLE"


async def test_a_child_that_keeps_something_is_not_renewed_for_its_size_until_it_keeps_nothing(stand: Stand) -> None:
    async def pid() -> int:
        done = await stand.ended(await stand.submit())
        assert done.result is not None
        return int(done.result["pid"])

    async with stand.worker(keeper=SHELF):
        size = psutil.Process(await pid()).memory_info().rss
    async with stand.worker(keeper=SHELF, memory_limit_bytes=int(1.5 * size)):
        await ask(stand, "put", "a")
        first = await pid()
        assert {await pid() for _ in range(3)} == {first}
        await ask(stand, "drop", "a")
        await pid()  # the child was looked at before the name was dropped
        assert await pid() != first


async def test_jobs_and_commands_go_on_where_the_database_does_not_take_what_is_kept(stand: Stand) -> None:
    async with stand.worker(keeper=SHELF):
        worker = await kept(stand)
        async with stand.database.transaction() as session:
            await session.execute(text("ALTER TABLE workers RENAME TO away"))
        assert (await stand.ended(await stand.submit([["keep", "a"]]))).state == "SUCCEEDED"
        answer = await stand.engine.command(worker.name, {"do": "put", "with": "b"}, seconds=20)
        assert answer["names"] == ["a", "b"]
        async with stand.database.transaction() as session:
            await session.execute(text("ALTER TABLE away RENAME TO workers"))
        await seen(stand, lambda worker: worker.state["names"] == ["a", "b"])

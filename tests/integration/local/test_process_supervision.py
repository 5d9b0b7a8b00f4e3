from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mistudio_local.errors import ProcessNotRunning, StartFailed
from mistudio_local.guard import Guard
from mistudio_local.orphans import alive, members
from mistudio_local.process import ProcessSpec, SupervisedProcess

Make = Callable[..., SupervisedProcess]


@pytest.fixture
def make(tmp_path: Path, guard: Guard) -> Iterator[Make]:
    made: list[SupervisedProcess] = []

    def make(script: str, **settings: float) -> SupervisedProcess:
        up = tmp_path / "up"
        spec = ProcessSpec("thing", ["bash", "-c", script, "thing", str(up)], ready=up.exists, **settings)  # type: ignore[arg-type]  # numbers of seconds
        made.append(SupervisedProcess(spec, tmp_path / "logs" / "thing.log", guard))
        return made[-1]

    yield make
    for process in made:
        process.stop()


def until(condition: Callable[[], object], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_a_process_that_dies_is_started_again(make: Make) -> None:
    process = make('touch "$1"; exec sleep 1000')
    process.start()
    first = process.pid
    process.kill()
    process.wait_ready()
    assert process.pid != first
    assert not psutil.pid_exists(first)


def test_a_stopped_process_stays_stopped_until_it_is_started(make: Make) -> None:
    process = make('touch "$1"; exec sleep 1000')
    process.start()
    process.stop()
    assert not process.running
    with pytest.raises(ProcessNotRunning, match="thing is not running"):
        _ = process.pid
    process.start()
    assert process.running


def test_a_process_that_never_comes_up_fails_with_the_end_of_its_log(make: Make) -> None:
    with pytest.raises(StartFailed, match=r"thing ended before it was ready.*no such port.*Read .*thing\.log"):
        make("echo no such port >&2; exit 3").start()


def test_a_process_that_is_not_ready_in_time_fails_to_start(make: Make) -> None:
    with pytest.raises(StartFailed, match="was not ready after 0 s"):
        make("exec sleep 1000", ready_seconds=0.2).start()


def test_a_process_that_ignores_the_stop_signal_is_killed_with_its_group(make: Make) -> None:
    process = make('trap "" TERM; sleep 1000 & touch "$1"; while :; do sleep 0.05; done', stop_seconds=0.3)
    process.start()
    group = psutil.Process(process.pid).children(recursive=True)
    process.stop()
    until(lambda: not any(map(alive, group)))


def test_stopping_while_a_restart_is_due_leaves_nothing_running(make: Make) -> None:
    process = make('touch "$1"; exec sleep 1000')
    process.start()
    process.kill()
    process.stop()
    assert not process.running


def test_closing_a_guard_ends_what_has_detached_itself(tmp_path: Path) -> None:
    with Guard() as guard:
        spec = ProcessSpec("parent", ["bash", "-c", "setsid sleep 1000 & setsid sleep 1000 & exec sleep 1000"])
        process = SupervisedProcess(spec, tmp_path / "log", guard)
        process.start()
        until(lambda: len(members(guard.stack_id)) == 3)
        process.kill()
        process.stop()
        assert members(guard.stack_id)
    assert not members(guard.stack_id)


def test_a_killed_watchdog_is_replaced(tmp_path: Path) -> None:
    with Guard() as guard:
        first = guard.watchdog_pid
        assert first is not None
        psutil.Process(first).kill()
        until(lambda: guard.watchdog_pid != first)


def test_a_killed_owner_leaves_nothing(tmp_path: Path) -> None:
    owner = f"""
from pathlib import Path
from mistudio_local.guard import Guard
from mistudio_local.process import ProcessSpec, SupervisedProcess
with Guard() as guard:
    spec = ProcessSpec("p", ["bash", "-c", "setsid sleep 1000 & trap '' TERM; while :; do sleep 0.05; done"])
    SupervisedProcess(spec, Path({str(tmp_path / "log")!r}), guard).start()
    print(guard.stack_id, flush=True)
    input()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", owner], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        stack_id = process.stdout.readline().strip()
        until(lambda: len(members(stack_id)) >= 2)
        process.send_signal(signal.SIGKILL)
    until(lambda: not members(stack_id))

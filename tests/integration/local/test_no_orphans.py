from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import psutil
import pytest

from mistudio_local.config import StackPorts
from mistudio_local.orphans import alive, members

STAND_IN = Path(__file__).with_name("stand_in.py")
FREE_PORTS = [f"--{port.name.replace('_', '-')}-port=0" for port in fields(StackPorts)]


@dataclass
class RunningUp:
    """A stack in the way `make up` runs it: as the child of another program, which is `started`."""

    started: subprocess.Popen[str]
    data_dir: Path

    @property
    def owner(self) -> dict[str, str | int]:
        owner: dict[str, str | int] = json.loads((self.data_dir / "stack.lock").read_text())
        return owner

    @property
    def pid(self) -> int:
        return int(self.owner["pid"])

    @property
    def processes(self) -> set[psutil.Process]:
        """Everything that must be gone in the end: the stack, its watchdog, and all of its processes."""
        stack = psutil.Process(self.pid)
        return {stack, *stack.children(recursive=True), *members(str(self.owner["stack_id"]))}


def run_up(data_dir: Path) -> RunningUp:
    command = [sys.executable, str(STAND_IN), "up", "--data-dir", str(data_dir), *FREE_PORTS]
    # The `:` keeps the shell from becoming the stack: it stays its parent, as make does.
    started = subprocess.Popen(
        ["bash", "-c", '"$@"; :', "bash", *command], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert started.stdout is not None
    assert "miStudio is ready" in started.stdout.readline()
    return RunningUp(started, data_dir)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[RunningUp]:
    up = run_up(tmp_path / "var")
    yield up
    end(up)


def end(up: RunningUp) -> None:
    with suppress(ProcessLookupError):
        os.killpg(up.started.pid, signal.SIGTERM)
    up.started.communicate()


def gone(processes: set[psutil.Process]) -> bool:
    return not any(map(alive, processes))


def await_gone(processes: set[psutil.Process]) -> None:
    deadline = time.monotonic() + 100
    while not gone(processes):
        assert time.monotonic() < deadline, f"left: {processes}"
        time.sleep(0.02)


def ctrl_c_twice(up: RunningUp) -> None:
    for _ in range(2):
        os.killpg(up.started.pid, signal.SIGINT)


ENDINGS: dict[str, Callable[[RunningUp], None]] = {
    "ctrl_c": lambda up: os.killpg(up.started.pid, signal.SIGINT),
    "ctrl_c_twice": ctrl_c_twice,
    "sigterm": lambda up: os.kill(up.pid, signal.SIGTERM),
    "closed_terminal": lambda up: os.killpg(up.started.pid, signal.SIGHUP),
    "kill_9_of_its_parent": lambda up: up.started.kill(),
    "kill_9_of_the_stack": lambda up: os.kill(up.pid, signal.SIGKILL),
    "kill_9_of_both": lambda up: os.killpg(up.started.pid, signal.SIGKILL),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_process_is_left_however_the_stack_ends(up: RunningUp, ending: str) -> None:
    processes = up.processes
    assert {"postgres", "nats-server", "sleep"} <= {process.name() for process in processes}
    ENDINGS[ending](up)
    await_gone(processes)


def test_a_stack_starts_at_once_on_what_a_killed_one_left(up: RunningUp) -> None:
    processes = up.processes
    os.killpg(up.started.pid, signal.SIGKILL)
    second = run_up(up.data_dir)
    try:
        assert gone(processes)
    finally:
        end(second)


def test_a_stack_clears_away_what_was_killed_together_with_its_watchdog(up: RunningUp) -> None:
    processes = up.processes
    watchdog = next(process for process in processes if "mistudio_local.watchdog" in process.cmdline())
    psutil.Process(up.pid).suspend()
    watchdog.kill()
    os.killpg(up.started.pid, signal.SIGKILL)
    second = run_up(up.data_dir)
    try:
        assert gone(processes)
    finally:
        end(second)

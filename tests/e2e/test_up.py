"""`make up` itself: however it ends, no process is left and the next one has all the data."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import psutil
import pytest

from mistudio_local.config import StackPorts
from mistudio_local.orphans import alive

ROOT = Path(__file__).resolve().parents[2]
PORTS = [f"--{port.name.replace('_', '-')}-port=0" for port in fields(StackPorts)]
PROCESSES = 8  # nats, postgres, two services, two workers, the gateway, the watchdog
SECONDS = 100


def make_up(data_dir: Path) -> subprocess.Popen[str]:
    """`make up` in a session of its own, once it says that it is ready."""
    arguments = " ".join([f"--data-dir={data_dir}", *PORTS])
    made = subprocess.Popen(
        ["make", "up", f"ARGS={arguments}"], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert made.stdout is not None
    for line in made.stdout:
        if "miStudio is ready" in line:
            return made
    raise AssertionError(f"make up ended with {made.wait()}")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    made = make_up(tmp_path / "var")
    yield made
    if made.poll() is None:
        os.killpg(made.pid, signal.SIGTERM)
    made.communicate()


def await_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + SECONDS
    while any(map(alive, processes)):
        assert time.monotonic() < deadline, f"left: {[p for p in processes if alive(p)]}"
        time.sleep(0.05)


ENDINGS: dict[str, Callable[[subprocess.Popen[str]], None]] = {
    "ctrl_c": lambda made: os.killpg(made.pid, signal.SIGINT),
    "sigterm": lambda made: made.terminate(),
    "kill_9_of_make": lambda made: made.kill(),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_process_is_left_however_make_up_ends(up: subprocess.Popen[str], ending: str) -> None:
    processes = psutil.Process(up.pid).children(recursive=True)
    assert len(processes) > PROCESSES
    ENDINGS[ending](up)
    await_gone(processes)

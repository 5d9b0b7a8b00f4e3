"""The parent's side of the child process that runs handlers: start, run, cancel, kill, replace."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from mistudio_jobs.child import ChildSettings
from mistudio_jobs.failures import died, kernel_memory_kills
from mistudio_jobs.pipe import Report, Task, encode, receive
from mistudio_servicekit.errors import MistudioError, WorkerLost

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """The handler returned."""

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """The handler raised, or its process died."""

    error: MistudioError


class Child:
    """One child process. It runs one task at a time and is reused for the next."""

    def __init__(self, process: Process, lifeline: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self._process = process
        self._lifeline = lifeline
        self._reader = reader
        self._writer = writer
        self._for_memory = False
        self._killed = False
        self._ended = asyncio.create_task(self._end_group())

    @classmethod
    async def start(cls, settings: ChildSettings) -> Child:
        """Start a child in a process group of its own, and wait until it is ready.

        Raises:
            WorkerLost: it ended at once, for example because a preloaded module does not import.
        """
        ours, theirs = socket.socketpair()
        lifeline, held = os.pipe()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mistudio_jobs.child", str(theirs.fileno()), str(lifeline), settings.to_json(),
            pass_fds=(theirs.fileno(), lifeline), stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        os.close(lifeline)
        reader, writer = await asyncio.open_connection(sock=ours)
        child = cls(process, held, reader, writer)
        if await receive(reader) is None:
            await child.kill()
            raise WorkerLost("The job process ended while it started", next_step="Look at the worker's log")
        return child

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's as well."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can run a task."""
        return not self._killed and self._process.returncode is None and not self._reader.at_eof()

    async def run(self, task: Task, on_report: Callable[[Report], None]) -> Done | Failed:
        """Run `task` to its end, calling `on_report` with its progress."""
        what, kills = f"job {task.job_id}", kernel_memory_kills()
        with suppress(ConnectionError):
            self._writer.write(encode(task.to_frame()))
            await self._writer.drain()
        while (frame := await receive(self._reader)) is not None:
            if "progress" in frame:
                on_report(Report(**frame["progress"]))
            elif "done" in frame:
                return Done(frame["done"])
            elif "failed" in frame:
                return Failed(MistudioError.from_record(frame["failed"]))
        await self.kill()
        for_memory = self._for_memory or kernel_memory_kills() > kills
        return Failed(died(self._process.returncode, what, killed_for_memory=for_memory))

    def cancel(self, epoch: int) -> None:
        """Tell the handler of the claim `epoch` that its job was cancelled."""
        if self.alive:
            self._writer.write(encode({"cancel": epoch}))

    def resident_bytes(self) -> int:
        """Memory of the child and its descendants, in bytes."""
        try:
            process = psutil.Process(self.pid)
            return sum(_resident(each) for each in [process, *process.children(recursive=True)])
        except psutil.NoSuchProcess:
            return 0

    async def kill_for_memory(self) -> None:
        """Kill it because it uses too much memory: its task fails as out of memory."""
        self._for_memory = True
        await self.kill()

    async def kill(self) -> None:
        """Kill its whole process group and wait until it is gone. Killing twice is no error."""
        self._killed = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        await asyncio.shield(self._ended)

    async def _end_group(self) -> None:
        """When the child ends, for whatever reason, end what it has started, which would hold the pipe open."""
        await self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self._lifeline)
        self._writer.close()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0

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
from typing import Any

import psutil

from mistudio_jobs.child import ChildSettings
from mistudio_jobs.conversation import Conversation, Done, Failed
from mistudio_jobs.failures import died, how_ended, kernel_memory_kills
from mistudio_jobs.keeping import Kept
from mistudio_jobs.pipe import Report, Task
from mistudio_servicekit.errors import WorkerLost

log = logging.getLogger(__name__)


def _nobody(_: Kept) -> None:
    """Nobody wants to know what a child keeps."""


class Child:
    """One child process. It runs one task at a time and is reused for the next."""

    def __init__(
        self, process: Process, lifeline: int, writer: asyncio.StreamWriter, conversation: Conversation
    ) -> None:
        self._process = process
        self._lifeline = lifeline
        self._writer = writer
        self._conversation = conversation
        self._for_memory = False
        self._killed = False
        self._ended = asyncio.create_task(self._live())

    @classmethod
    async def start(cls, settings: ChildSettings, on_kept: Callable[[Kept], None] = _nobody) -> Child:
        """Start a child in a process group of its own, and wait until it is ready.

        Args:
            settings: its set-up.
            on_kept: called with what its keeper keeps whenever that has changed; with nothing when it is dead.

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
        child = cls(process, held, writer, Conversation(reader, writer, on_kept))
        if not await child._conversation.ready():
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
        return not self._killed and self._process.returncode is None and not self._conversation.at_end

    @property
    def keeps(self) -> bool:
        """Whether it keeps what would be lost with it; see `Keeper.keeps`."""
        return self._conversation.kept.keeps

    @property
    def replaceable(self) -> bool:
        """Whether nothing would be lost with it between two tasks: it keeps nothing and does no command."""
        return not self.keeps and not self._conversation.asked

    async def run(self, task: Task, on_report: Callable[[Report], None]) -> Done | Failed:
        """Run `task` to its end, calling `on_report` with its progress."""
        kills = kernel_memory_kills()
        outcome = await self._conversation.run(task, on_report)
        if outcome is not None:
            return outcome
        await self.kill()
        for_memory = self._for_memory or kernel_memory_kills() > kills
        return Failed(died(self._process.returncode, f"job {task.job_id}", killed_for_memory=for_memory))

    async def command(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer of its keeper to a command; see `Conversation.command`."""
        return await self._conversation.command(payload)

    def cancel(self, epoch: int) -> None:
        """Tell the handler of the claim `epoch` that its job was cancelled."""
        if self.alive:
            self._conversation.cancel(epoch)

    def resident_bytes(self) -> int:
        """Memory of the child and its descendants, in bytes."""
        try:
            process = psutil.Process(self.pid)
            return sum(_resident(each) for each in [process, *process.children(recursive=True)])
        except psutil.NoSuchProcess:
            return 0

    async def kill_for_memory(self) -> None:
        """Kill it because it uses too much memory: its task fails as out of memory."""
        log.warning("The job process %s is ended: it uses more memory than it may", self.pid)
        self._for_memory = True
        await self.kill()

    async def kill(self) -> None:
        """Kill its whole process group and wait until it is gone. Killing twice is no error."""
        self._killed = True
        self._kill_group()
        await asyncio.shield(self._ended)

    def _kill_group(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def _live(self) -> None:
        """Pass on what it says until it has ended, for whatever reason."""
        ending = asyncio.create_task(self._end_group())
        try:
            await self._conversation.listen()
        except Exception:  # the edge of its process: what it says is of no use any more
            log.exception("The job process %s is ended: it cannot be understood", self.pid)
        finally:
            self._kill_group()
            await ending
            self._conversation.end()

    async def _end_group(self) -> None:
        """When it has ended, end what it has started, which would hold the pipe open."""
        exit_code = await self._process.wait()
        if not self._killed:
            loss = ", and what it kept is gone" if self.keeps else ""
            log.warning("The job process %s %s%s", self.pid, how_ended(exit_code), loss)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self._lifeline)
        self._writer.close()


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0

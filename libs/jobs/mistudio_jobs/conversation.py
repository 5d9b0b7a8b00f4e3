"""What a worker and its child say to each other, as the worker hears it: frames go to whoever waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from mistudio_jobs.keeping import NOTHING, Kept
from mistudio_jobs.pipe import Report, Task, encode, receive
from mistudio_servicekit.errors import MistudioError, WorkerLost


@dataclass(frozen=True)
class Done:
    """The handler returned."""

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Failed:
    """The handler raised, or its process died.

    Attributes:
        error: what its user is told.
        trace: of an unexpected exception: whoever tells the error logs it (`failures.log_fault`).
    """

    error: MistudioError
    trace: str = ""


@dataclass(frozen=True)
class _Running:
    on_report: Callable[[Report], None]
    outcome: asyncio.Future[Done | Failed | None]


class Conversation:
    """One child's socket. At most one task runs at a time; commands come beside it.

    Args:
        reader: from the child.
        writer: to the child.
        on_kept: called with what the child keeps whenever that changes, and with `NOTHING` when it is dead.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_kept: Callable[[Kept], None]
    ) -> None:
        self.kept = NOTHING
        self._reader = reader
        self._writer = writer
        self._on_kept = on_kept
        self._over = False
        self._ready: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._running: _Running | None = None
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Mapping[str, Any]]] = {}

    @property
    def at_end(self) -> bool:
        """Whether nothing more comes from the child."""
        return self._over or self._reader.at_eof()

    @property
    def asked(self) -> bool:
        """Whether a command is not answered yet."""
        return bool(self._asked)

    async def ready(self) -> bool:
        """Whether the child is ready for tasks: waits until it says so, or has ended."""
        return await asyncio.shield(self._ready)

    async def listen(self) -> None:
        """Pass on what the child says, until its end."""
        while (frame := await receive(self._reader)) is not None:
            self._pass_on(frame)

    def end(self) -> None:
        """Tell all who wait that nothing more comes."""
        self._over = True
        self._keep(NOTHING)
        if not self._ready.done():
            self._ready.set_result(False)
        if self._running is not None and not self._running.outcome.done():
            self._running.outcome.set_result(None)
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(_ended())

    async def run(self, task: Task, on_report: Callable[[Report], None]) -> Done | Failed | None:
        """Have `task` run, calling `on_report` with its progress; None where the child ends before it."""
        if self._over:
            return None
        self._running = _Running(on_report, asyncio.get_running_loop().create_future())
        try:
            await self._send(task.to_frame())
            return await self._running.outcome
        finally:
            self._running = None

    async def command(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer of the child's keeper.

        Raises:
            WorkerLost: the child ends before it.
            MistudioError: what the keeper raised.
        """
        if self._over:
            raise _ended()
        number, answer = next(self._numbers), asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            await self._send({"command": {"number": number, "payload": dict(payload)}})
            result: Mapping[str, Any] = await answer
            return result
        finally:
            del self._asked[number]

    def cancel(self, epoch: int) -> None:
        """Tell the handler of the claim `epoch` that its job was cancelled."""
        self._writer.write(encode({"cancel": epoch}))

    async def _send(self, frame: dict[str, Any]) -> None:
        with suppress(ConnectionError):  # the end of the stream tells of it
            self._writer.write(encode(frame))
            await self._writer.drain()

    def _pass_on(self, frame: dict[str, Any]) -> None:
        if "state" in frame:
            self._keep(Kept(frame["state"], frame["keeps"]))
        elif "answer" in frame:
            self._answer(**frame["answer"])
        elif "ready" in frame:
            self._ready.set_result(True)
        elif self._running is not None:
            _tell(self._running, frame)

    def _keep(self, kept: Kept) -> None:
        if kept != self.kept:
            self.kept = kept
            self._on_kept(kept)

    def _answer(
        self, number: int, result: Mapping[str, Any] | None = None, error: Mapping[str, Any] | None = None
    ) -> None:
        answer = self._asked.get(number)
        if answer is None or answer.done():  # nobody waits for it any more
            return
        if error is not None:
            answer.set_exception(MistudioError.from_record(error))
        else:
            answer.set_result(result or {})


def _tell(running: _Running, frame: Mapping[str, Any]) -> None:
    if running.outcome.done():  # whoever ran it gives up just now
        return
    if "progress" in frame:
        running.on_report(Report(**frame["progress"]))
    elif "done" in frame:
        running.outcome.set_result(Done(frame["done"]))
    elif "failed" in frame:
        running.outcome.set_result(Failed(MistudioError.from_record(frame["failed"]), frame["trace"]))


def _ended() -> WorkerLost:
    return WorkerLost("The job process has ended", next_step="Repeat it in a few seconds")

"""Commands to the keeper of one worker: asked by a service over NATS, passed on to the worker's child."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from sqlalchemy.exc import SQLAlchemyError

from mistudio_jobs import events, tasks
from mistudio_jobs.failures import to_failure
from mistudio_jobs.publishing import PublishError
from mistudio_jobs.reaching import ARE_YOU_THERE, deaf
from mistudio_jobs.runner import Child
from mistudio_servicekit.errors import MistudioError, NotServedHere, Unavailable, WorkerLost

log = logging.getLogger(__name__)

_NAME_CHARACTERS = 255
"""Longer names would not fit into a subject."""

_CLOSE_SECONDS = 2.0
_LOOK_SECONDS = 0.5
_LOOKS = 2
"""How often in a row a worker is found gone before its answer is given up: it may just connect again."""


async def ask(nats: Client, service: str, worker: str, payload: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
    """What the keeper of `worker` answers to `payload`.

    Raises:
        Unavailable: nobody of this name is there any more, or it does not answer within `seconds`.
        MistudioError: what the keeper raised.
    """
    if not 0 < len(worker) <= _NAME_CHARACTERS:
        raise _nobody(worker[:_NAME_CHARACTERS])
    asked = json.dumps({"payload": dict(payload), "seconds": seconds}).encode()
    try:
        message = await _answered(nats, service, worker, asked, seconds)
    except NoRespondersError:
        raise _nobody(worker) from None
    except (TimeoutError, NatsError, OSError) as error:
        raise Unavailable(
            f"Worker {worker!r} did not answer within {seconds:g} seconds",
            next_step="List the workers to see whether it is still there, and repeat the call",
        ) from error
    answer = json.loads(message.data)
    if "error" in answer:
        raise MistudioError.from_record(answer["error"])
    result: Mapping[str, Any] = answer["result"]
    return result


async def _answered(nats: Client, service: str, worker: str, asked: bytes, seconds: float) -> Msg:
    """The answer of a worker.

    Raises:
        NoRespondersError: it is not there, or dies before it answers.
        TimeoutError, nats.errors.Error: it does not answer, or cannot be asked.
    """
    asking = asyncio.create_task(nats.request(events.worker_subject(service, worker), asked, timeout=seconds))
    try:
        silent = 0
        while not (await asyncio.wait({asking}, timeout=_LOOK_SECONDS))[0]:
            silent = silent + 1 if await deaf(nats, service, [worker]) else 0
            if silent == _LOOKS:
                raise NoRespondersError
        return asking.result()
    finally:
        asking.cancel()


def _nobody(worker: str) -> Unavailable:
    return Unavailable(
        f"No worker {worker!r} is there", next_step="List the workers to see which are, and ask one of them"
    )


class Commands:
    """The worker's side: answers its messages side by side.

    Args:
        worker: its name.
        child: its child at present; None while there is none.
        has_keeper: whether its children have a keeper.
        settle: writes what the child keeps, so that whoever has the answer sees what it changed.
    """

    def __init__(
        self,
        worker: str,
        child: Callable[[], Child | None],
        has_keeper: bool,
        settle: Callable[[], Awaitable[None]],
    ) -> None:
        self._worker = worker
        self._child = child
        self._has_keeper = has_keeper
        self._settle = settle
        self._answering: set[asyncio.Task[None]] = set()

    async def on_message(self, message: Msg) -> None:
        """Begin to answer; later messages need not wait for it."""
        if message.data == ARE_YOU_THERE:
            return
        task = asyncio.create_task(self._answer(message))
        task.add_done_callback(self._answering.discard)
        self._answering.add(task)

    async def close(self) -> None:
        """Answer what was asked, now that the child has ended: whoever still waits is told so."""
        if self._answering:
            await asyncio.wait(self._answering, timeout=_CLOSE_SECONDS)
        await tasks.cancel(list(self._answering))

    async def _answer(self, message: Msg) -> None:
        try:
            asked = json.loads(message.data)
            async with asyncio.timeout(asked["seconds"]):
                answer = {"result": dict(await self._do(asked["payload"]))}
        except TimeoutError:
            return  # nobody waits any more
        except Exception as error:  # noqa: BLE001 - the edge of a command: whatever happened becomes its answer
            answer = {"error": to_failure(error, f"a command to worker {self._worker}").to_record()}
        await self._write_state()
        with suppress(*PublishError):
            await message.respond(json.dumps(answer).encode())

    async def _do(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._has_keeper:
            raise NotServedHere(
                f"Worker {self._worker} takes no commands: it keeps nothing", next_step="Ask a worker that keeps things"
            )
        child = self._child()
        if child is None or not child.alive:
            raise Unavailable(
                f"The job process of worker {self._worker} is just being started",
                next_step="Repeat it in a few seconds",
            )
        try:
            return await child.command(payload)
        except WorkerLost:
            raise Unavailable(
                f"The job process of worker {self._worker} ended in the middle of the command",
                next_step="Look at the worker's log, and repeat it in a few seconds",
            ) from None

    async def _write_state(self) -> None:
        try:
            await self._settle()
        except (SQLAlchemyError, OSError) as error:
            log.warning("What a command changed is told later: %s", type(error).__name__)

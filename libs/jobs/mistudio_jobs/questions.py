"""A process that answers a service's own questions, so that the service stays small: one child, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from mistudio_jobs.child import ChildSettings
from mistudio_jobs.conversation import Done, Failed
from mistudio_jobs.failures import log_fault
from mistudio_jobs.pipe import Report, Task
from mistudio_jobs.runner import Child
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import Internal, MistudioError, OutOfMemory, Reason, TimedOut, Unavailable
from mistudio_servicekit.storage import Store

_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Wording:
    """The words in which a process's errors fit its requests.

    Attributes:
        process: what it is, for example `tokenizer process`.
        work: what it does, as the beginning of a sentence: `Tokenizing`.
        things: what a request asks for, in the plural: `rows`.
        when_slow: next step after a request that took too long.
        when_large: next step after a request that needed too much memory.
    """

    process: str
    work: str
    things: str
    when_slow: str
    when_large: str


@dataclass(frozen=True)
class QuestionSettings:
    """How a process for questions is set up.

    Attributes:
        module: where the functions are; each is a job's `Handler`. Imported in the child only.
        wording: the words of its errors.
        process: its name in logs.
        log_level: least level that it logs.
        preload: more modules to import at its start, which is not counted as time of a request.
        settings: for the functions (`JobContext.settings`); no secrets.
        store: the shared store, for functions that need one.
        seconds: the longest that a request may take, once its turn has come.
        memory_bytes: the most that the child may use.
    """

    module: str
    wording: Wording
    process: str
    log_level: str
    preload: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    store: Store | None = None
    seconds: float = 20.0
    memory_bytes: int = 4 << 30


class QuestionProcess:
    """Answers questions in a child process, inside its block.

    The child is started with the first question, and anew after it had to be killed: because a question took too long
    or too much memory, or its caller gave up. It dies with this process, however that ends.

    Args:
        settings: its set-up.
    """

    def __init__(self, settings: QuestionSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._child: asyncio.Task[Child] | None = None

    async def ask(
        self, function: str, payload: Mapping[str, Any], secrets: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        """What `function` of the module returns for `payload` and `secrets`.

        Raises:
            TimedOut: it took too long.
            OutOfMemory: it needed too much memory.
            Unavailable: the process does not start, or ended in the middle.
            MistudioError: what the function raised; `Internal` for an unexpected fault.
        """
        async with self._turn:
            child = await self._ready()
            try:
                async with asyncio.timeout(self._settings.seconds):
                    outcome = await self._answer(child, function, payload, secrets or {})
            except TimeoutError:
                await child.kill()
                raise self._too_slow() from None
            except asyncio.CancelledError:
                await child.kill()  # it would go on with what nobody waits for
                raise
        if isinstance(outcome, Failed):
            log_fault(outcome.error, outcome.trace)
            raise self._understood(outcome.error)
        return outcome.result

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the child."""
        if self._child is not None:
            with suppress(MistudioError):  # it never started
                await (await self._child).kill()

    async def _ready(self) -> Child:
        """The child, started if there is none that can work."""
        if self._child is not None and self._child.done() and not _works(self._child):
            self._child = None
        words = self._settings.wording
        if self._child is None:
            self._child = asyncio.create_task(Child.start(self._child_settings()), name=words.process)
        try:
            # A caller that gives up meanwhile leaves the start to the next one.
            return await asyncio.shield(self._child)
        except MistudioError as error:
            raise Unavailable(
                f"The {words.process} does not start: {error.problem}", next_step="Look at the service's log"
            ) from error

    def _child_settings(self) -> ChildSettings:
        wanted, store = self._settings, self._settings.store
        return ChildSettings(
            store_root=str(store.root) if store else "",
            store_quota_bytes=store.quota_bytes if store else None,
            settings=dict(wanted.settings),
            preload=[wanted.module, *wanted.preload],
            report_seconds=1.0,
            process=wanted.process,
            log_level=wanted.log_level,
        )

    async def _answer(
        self, child: Child, function: str, payload: Mapping[str, Any], secrets: Mapping[str, str]
    ) -> Done | Failed:
        nobody, handler = str(new_id()), f"{self._settings.module}:{function}"
        task = Task(nobody, nobody, 1, 1, handler, "", dict(payload), dict(secrets))
        watching = asyncio.create_task(self._watch_memory(child))
        try:
            return await child.run(task, _ignore)
        finally:
            watching.cancel()

    async def _watch_memory(self, child: Child) -> None:
        while child.resident_bytes() <= self._settings.memory_bytes:  # noqa: ASYNC110  # memory has no events
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        await child.kill_for_memory()

    def _understood(self, error: MistudioError) -> MistudioError:
        """`error` in words that fit a request instead of a job."""
        words = self._settings.wording
        if error.reason is Reason.WORKER_LOST:
            return Unavailable(f"The {words.process} ended in the middle", next_step="Repeat the call")
        if error.reason is Reason.OUT_OF_MEMORY:
            room = f"{self._settings.memory_bytes >> 20:,} MiB"
            return OutOfMemory(
                f"The {words.things} need more memory than the {words.process} has ({room})",
                next_step=words.when_large,
            )
        if error.reason is Reason.INTERNAL:
            incident = error.metadata.get("incident", "")
            return Internal(
                f"An unexpected fault stopped the {words.process} (incident {incident})",
                next_step="Look for the incident id in the service's log",
                metadata=error.metadata,
            )
        return error

    def _too_slow(self) -> TimedOut:
        words = self._settings.wording
        return TimedOut(f"{words.work} took longer than {self._settings.seconds:g} seconds", next_step=words.when_slow)


def _works(started: asyncio.Task[Child]) -> bool:
    return started.exception() is None and started.result().alive


def _ignore(_: Report) -> None:
    return

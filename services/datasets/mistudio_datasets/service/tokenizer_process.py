"""The process that tokenizes for the service, which itself stays small and quick: one child, one request at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from mistudio_datasets.domain.previews import Preview, PreviewInput
from mistudio_jobs.child import ChildSettings
from mistudio_jobs.pipe import Report, Task
from mistudio_jobs.runner import Child, Done, Failed
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import Internal, MistudioError, OutOfMemory, Reason, TimedOut, Unavailable

log = logging.getLogger(__name__)

_REQUESTS = "mistudio_datasets.data.tokens.tokenizer_requests"
_PRELOAD = (_REQUESTS, "transformers.models.auto.tokenization_auto", "transformers.utils.chat_template_utils")
"""Takes seconds to import, which is not counted as time of a request."""

_SECONDS_BETWEEN_LOOKS = 0.2


class TokenizerProcess:
    """Tokenizes in a child process, inside its block.

    The child is started with the first request, and anew after it had to be killed: because a request took too long or
    too much memory, or its caller gave up. It dies with this process, however that ends.

    Args:
        log_level: of the child.
        seconds: the longest that a request may take, once its turn has come.
        memory_bytes: the most that the child may use.
    """

    def __init__(self, log_level: str, seconds: float = 20.0, memory_bytes: int = 4 << 30) -> None:
        self._settings = ChildSettings(
            store_root="",
            store_quota_bytes=None,
            settings={},
            preload=_PRELOAD,
            report_seconds=1.0,
            process="datasets-tokenizer",
            log_level=log_level,
        )
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._turn = asyncio.Lock()
        self._child: asyncio.Task[Child] | None = None

    async def encode(self, model_folder: Path, text: str) -> Sequence[int]:
        """See `Tokenizers.encode`."""
        answer = await self._ask("encode", {"model_folder": str(model_folder), "text": text})
        ids: list[int] = answer["ids"]
        return ids

    async def preview(self, wanted: PreviewInput) -> Preview:
        """See `Tokenizers.preview`."""
        return Preview.from_json(await self._ask("preview", wanted.to_json()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the child."""
        if self._child is not None:
            with suppress(MistudioError):  # it never started
                await (await self._child).kill()

    async def _ask(self, function: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        async with self._turn:
            child = await self._ready()
            try:
                async with asyncio.timeout(self._seconds):
                    outcome = await self._answer(child, function, payload)
            except TimeoutError:
                await child.kill()
                raise _too_slow(self._seconds) from None
            except asyncio.CancelledError:
                await child.kill()  # its answer would be taken for that of the next request
                raise
        if isinstance(outcome, Failed):
            raise self._understood(outcome.error)
        return outcome.result

    async def _ready(self) -> Child:
        """The child, started if there is none that can work."""
        if self._child is not None and self._child.done() and not _works(self._child):
            self._child = None
        if self._child is None:
            self._child = asyncio.create_task(Child.start(self._settings), name="tokenizer process")
        try:
            # A caller that gives up meanwhile leaves the start to the next one.
            return await asyncio.shield(self._child)
        except MistudioError as error:
            raise Unavailable(
                f"The tokenizer process does not start: {error.problem}", next_step="Look at the service's log"
            ) from error

    async def _answer(self, child: Child, function: str, payload: Mapping[str, Any]) -> Done | Failed:
        nobody = str(new_id())
        task = Task(nobody, nobody, 1, 1, f"{_REQUESTS}:{function}", "", dict(payload), {})
        watching = asyncio.create_task(self._watch_memory(child))
        try:
            return await child.run(task, _ignore)
        finally:
            watching.cancel()

    async def _watch_memory(self, child: Child) -> None:
        while child.resident_bytes() <= self._memory_bytes:  # noqa: ASYNC110  # memory has no events
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        await child.kill_for_memory()

    def _understood(self, error: MistudioError) -> MistudioError:
        """`error` in words that fit a request instead of a job."""
        if error.reason is Reason.WORKER_LOST:
            return Unavailable("The tokenizer process ended in the middle", next_step="Repeat the call")
        if error.reason is Reason.OUT_OF_MEMORY:
            return OutOfMemory(
                f"The rows need more memory than the tokenizer process has ({self._memory_bytes >> 20:,} MiB)",
                next_step="Ask for fewer rows, or for others",
            )
        if error.reason is Reason.INTERNAL:
            incident = error.metadata.get("incident", "")
            return Internal(
                f"An unexpected fault stopped the tokenizer process (incident {incident})",
                next_step="Look for the incident id in the service's log",
                metadata=error.metadata,
            )
        return error


def _works(started: asyncio.Task[Child]) -> bool:
    return started.exception() is None and started.result().alive


def _too_slow(seconds: float) -> TimedOut:
    return TimedOut(
        f"Tokenizing took longer than {seconds:g} seconds",
        next_step="Ask for fewer rows; if few take so long as well, the model's chat template may not end",
    )


def _ignore(_: Report) -> None:
    return

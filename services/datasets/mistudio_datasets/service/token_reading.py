"""Reading the files of a complete tokenization, in a thread that ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TypeVar
from uuid import UUID

from mistudio_datasets.domain.progress import Check
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_datasets.service import tokenizations
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.storage import Area

_Result = TypeVar("_Result")


class _AbandonedError(Exception):
    """Whoever asked has gone away; nobody sees this."""


async def complete(tools: Tools, tokenization_id: UUID) -> Tokenization:
    """The tokenization, whose files can be read.

    Raises:
        TokenizationNotFound, TokenizationNotReady: they cannot.
    """
    tokenization = await tokenizations.get(tools, tokenization_id)
    tokenizations.require_complete(tokenization)
    return tokenization


async def reading(tools: Tools, tokenization: Tokenization, read: Callable[[Path, Check], _Result]) -> _Result:
    """What `read` makes of the tokenization's folder; it calls its `Check` often and lets through what that raises.

    Raises:
        TokenizationNotFound: it was deleted meanwhile.
    """
    folder = tools.store.epoch(Area.TOKENIZATIONS, tokenization.id, tokenization.epoch)
    try:
        return await in_thread(lambda check: read(folder, check))
    except FileNotFoundError:
        # Deleted meanwhile, which this says; if not, the store has lost files.
        await tokenizations.get(tools, tokenization.id)
        raise


async def in_thread(work: Callable[[Check], _Result]) -> _Result:
    """What `work` returns, done in a thread; when this call is cancelled, the `Check` that `work` gets raises."""
    abandoned = Event()

    def check() -> None:
        if abandoned.is_set():
            raise _AbandonedError

    try:
        return await asyncio.to_thread(work, check)
    finally:
        abandoned.set()

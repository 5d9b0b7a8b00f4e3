"""A mirror that runs in a thread of its own, for synchronous callers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mistudio_local.hub_mirror.faults import Faults
from mistudio_local.hub_mirror.server import HubMirror


@contextmanager
def mirror_in_background(root: Path, faults: Faults | None = None, page_entries: int = 1000) -> Iterator[HubMirror]:
    """A mirror of `root` on a free port, which answers until the block is left."""
    mirror = HubMirror(root, faults=faults, page_entries=page_entries)
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    with ThreadPoolExecutor(1, thread_name_prefix="hub-mirror") as thread:
        running = thread.submit(lambda: asyncio.run(_serve(mirror, ready)))
        running.add_done_callback(lambda ended: _pass_failure(ended, ready))
        loop, stop = ready.result()
        try:
            yield mirror
        finally:
            loop.call_soon_threadsafe(stop.set)
            running.result()


async def _serve(mirror: HubMirror, ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    stop = asyncio.Event()
    async with mirror:
        ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()


def _pass_failure(ended: Future[None], ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    """Let the caller see why the mirror could not start."""
    error = ended.exception()
    if error is not None and not ready.done():
        ready.set_exception(error)

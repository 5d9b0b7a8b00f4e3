"""Brings files of the Hub to disk: parallel, resumable, verified on the way, and stopped within moments.

After a kill, what was fetched stays: only what was not yet recorded is fetched again, about `record_bytes` for each
stream. A finished download leaves nothing in the folder but the files.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from mistudio_hub.parts import PARTS_FOLDER, Part, parts_of
from mistudio_hub.progress import Meter, Progress
from mistudio_hub.repository import RepoFile, RepoSource
from mistudio_hub.schedule import Block, Schedule
from mistudio_hub.snapshot import total_bytes
from mistudio_hub.stopping import Stop, StoppedError
from mistudio_hub.wire import BrokenOffError, Patience, Wire
from mistudio_servicekit.reservations import Room
from mistudio_servicekit.storage import disk_full, is_disk_full, remove_tree

_TICK_SECONDS = 0.05
_FAREWELL_SECONDS = 0.15
_LONGEST_BACKOFF_SECONDS = 8.0


@dataclass(frozen=True)
class TransferOptions:
    """How to fetch.

    Attributes:
        streams: most requests at a time.
        block_bytes: most bytes asked for in one request.
        record_bytes: bytes after which a stream records what it wrote; a kill makes it fetch about so many again.
        connect_seconds: longest wait for a connection.
        stall_seconds: longest silence of a server in the middle of an answer.
        retries: how often one block is tried again without a single byte in between.
        backoff_seconds: wait before the first of these tries; doubles each time.
        longest_wait_seconds: a server that asks to wait longer ends the download instead, and the error says how long.
    """

    streams: int = 8
    block_bytes: int = 16 * 1024 * 1024
    record_bytes: int = 1024 * 1024
    connect_seconds: float = 10.0
    stall_seconds: float = 15.0
    retries: int = 5
    backoff_seconds: float = 0.5
    longest_wait_seconds: float = 30.0


def download(
    source: RepoSource,
    files: Sequence[RepoFile],
    folder: Path,
    *,
    reserve: Callable[[int, str], AbstractContextManager[Room]],
    progress: Callable[[Progress], None],
    check: Callable[[], None],
    options: TransferOptions | None = None,
) -> None:
    """Fetch `files` into `folder`, taking over what an earlier attempt left there.

    Args:
        source: where from.
        files: what, as `HubClient.tree` lists it.
        folder: where to; made if need be. Each file has its path in the repository.
        reserve: keeps room for so many bytes, also told what for, or raises (`Store.reserve`).
        progress: is called about 20 times a second in the calling thread, and once at the end.
        check: is called as often in the calling thread; what it raises ends the download.
        options: how.

    Raises:
        UnsafePath: a file name would leave the folder, or is where another file is; nothing was fetched.
        DiskFull: before the first byte or while writing.
        RepoGated, HubTokenInvalid, RepoNotFound, RevisionNotFound, EntryNotFound: the Hub refuses.
        HubUnavailable, HubRateLimited: the Hub fails again and again, or asks to wait for long.
        ChecksumMismatch: a file's bytes are wrong, also when fetched again.
    """
    options = options or TransferOptions()
    what = f"Downloading {source.repo.repo_id}"
    try:
        parts = parts_of(files, folder, options.block_bytes)
        (folder / PARTS_FOLDER).mkdir(parents=True, exist_ok=True)
        resumed = sum(part.resume() for part in parts)
        meter = Meter(total_bytes(files), len(files), resumed)
        with reserve(total_bytes(files) - resumed, what) as room:
            _Crew(source, parts, meter, options).run(_telling(room, progress), check)
        remove_tree(folder / PARTS_FOLDER)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full(f"{what} ran out of space") from error
        raise


def _telling(room: Room, progress: Callable[[Progress], None]) -> Callable[[Progress], None]:
    """Tells the room as well as `progress`."""

    def tell(reached: Progress) -> None:
        room.shrink_to(reached.total_bytes - reached.done_bytes)
        progress(reached)

    return tell


class _Crew:
    """The threads of one download and what they share."""

    def __init__(self, source: RepoSource, parts: Sequence[Part], meter: Meter, options: TransferOptions) -> None:
        self._parts = parts
        self._meter = meter
        self._stop = Stop()
        self._schedule = Schedule(parts, meter, self._stop)
        tls, locations = httpx2.create_ssl_context(), dict[str, str]()
        patience = Patience(options.connect_seconds, options.stall_seconds)
        self._wires = [Wire(source, tls, patience, locations, self._stop) for _ in range(options.streams)]
        self._streams = [_Stream(wire, self._schedule, meter, options, self._stop) for wire in self._wires]

    def run(self, progress: Callable[[Progress], None], check: Callable[[], None]) -> None:
        """Fetch everything; raises what the first failing thread, `progress` or `check` raised."""
        pool = ThreadPoolExecutor(len(self._streams), thread_name_prefix="hub-stream")
        running = [pool.submit(stream.run) for stream in self._streams]
        try:
            self._watch(running, progress, check)
        finally:
            self._halt(running)
            pool.shutdown(wait=False)

    def _watch(
        self, running: list[Future[None]], progress: Callable[[Progress], None], check: Callable[[], None]
    ) -> None:
        pending = set(running)
        while pending:
            check()
            done, pending = wait(pending, timeout=_TICK_SECONDS, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            progress(self._meter.read())

    def _halt(self, running: list[Future[None]]) -> None:
        """Make all threads end. One that is still opening a connection is not waited for: it ends without writing."""
        self._stop.set()
        self._schedule.wake()
        for wire in self._wires:
            wire.abort()
        wait(running, timeout=_FAREWELL_SECONDS)
        for future in running:
            future.add_done_callback(lambda _: self._close_after_all(running))

    def _close_after_all(self, running: list[Future[None]]) -> None:
        """Close the files once no thread can write any more: a closed file's number may be another file's by then."""
        if all(future.done() for future in running):
            for part in self._parts:
                part.close()


class _Stream:
    """One thread: fetches block after block, and hashes what has come in order."""

    def __init__(self, wire: Wire, schedule: Schedule, meter: Meter, options: TransferOptions, stop: Stop) -> None:
        self._wire = wire
        self._schedule = schedule
        self._meter = meter
        self._options = options
        self._stop = stop

    def run(self) -> None:
        """Work until all files are complete or the download stops."""
        try:
            while (block := self._schedule.take()) is not None:
                self._fetch(block)
                verified = block.part.verify_ahead(self._stop.check)
                if verified is not None:
                    self._schedule.settle(block.part, verified)
        except StoppedError:
            return
        finally:
            self._wire.close()

    def _fetch(self, block: Block) -> None:
        (position, end), failures = block.span, 0
        recorded = position
        while position < end:
            try:
                for piece in self._wire.read(block.part.file, (position, end)):
                    self._stop.check()
                    block.part.write(position, piece)
                    self._meter.fetched(len(piece))
                    position, failures = position + len(piece), 0
                    if position == end or position - recorded >= self._options.record_bytes:
                        block.part.complete(recorded, position)
                        recorded = position
            except BrokenOffError as error:
                failures += 1
                self._pause(error, failures)

    def _pause(self, error: BrokenOffError, failures: int) -> None:
        """Wait before the next try, or raise the failure if there shall be none."""
        asked = error.retry_after or 0.0
        if failures > self._options.retries or asked > self._options.longest_wait_seconds:
            raise error.failure from error
        backoff = min(self._options.backoff_seconds * 2 ** (failures - 1), _LONGEST_BACKOFF_SECONDS)
        self._stop.sleep(max(asked, backoff * random.uniform(0.5, 1.0)))  # noqa: S311  # spreads tries, no secret

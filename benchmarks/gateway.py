"""The gateway: what a forwarded call costs, how soon progress reaches a client, and 1,000 watchers of one job.

Everything is a process of its own, as in production: NATS with its product settings, a backend, the gateway, the
worker that reports; the clients are this process.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import grpc

from benchmarks.report import Row, show
from mistudio.datasets.v1 import datasets_service_pb2, datasets_service_pb2_grpc
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2_grpc
from mistudio.jobs.v1 import jobs_service_pb2 as pb
from mistudio_local.guard import Guard
from mistudio_local.nats import NatsServer
from mistudio_local.ports import choose_port

CALLS, ROUNDS = 400, 5
JOBS, HERTZ, REPORTS = 100, 10.0, 100
WATCHERS, FAN_OUT_EVENTS, CHANNELS = 1000, 15, 4
MEMORY_MIB = 150.0


@dataclass(frozen=True)
class Site:
    """Where the benchmark's processes are."""

    nats_url: str
    backend_port: int
    gateway_port: int
    gateway_pid: int


@dataclass(frozen=True)
class Latencies:
    """From the sending of an event to its arrival at a client, in milliseconds."""

    median: float
    p99: float


def main() -> None:
    """Run all and print the table."""
    # The pauses of this process's collector are no part of what is measured.
    gc.disable()
    with _site() as site:
        show("gateway", asyncio.run(_measure(site)))


async def _measure(site: Site) -> list[Row]:
    return [await forwarded_call(site), *await progress(site), *await fan_out(site)]


async def forwarded_call(site: Site) -> Row:
    """A unary call through the gateway against the same call direct, in alternating rounds."""
    direct, forwarded = [], []
    for _ in range(ROUNDS):
        direct.append(await _call_milliseconds(site.backend_port))
        forwarded.append(await _call_milliseconds(site.gateway_port))
    ours, mark = statistics.median(forwarded), statistics.median(direct)
    return Row(
        "forwarded unary call, median",
        ours,
        "ms",
        "direct",
        mark,
        "≤ 2.2 × direct",
        ours <= 2.2 * mark,
        max(forwarded) - min(forwarded),
    )


async def _call_milliseconds(port: int) -> float:
    request = datasets_service_pb2.GetDatasetRequest(id=str(uuid4()))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = datasets_service_pb2_grpc.DatasetsServiceStub(channel)
        await stub.GetDataset(request)
        seconds = []
        for _ in range(CALLS):
            begun = time.perf_counter()
            await stub.GetDataset(request)
            seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds) * 1e3


async def progress(site: Site) -> list[Row]:
    """100 jobs report ten times a second, each watched by one client."""
    job_ids = [str(uuid4()) for _ in range(JOBS)]
    found = await _watched(site, job_ids, job_ids, REPORTS, HERTZ)
    what = f"worker to client, {JOBS} jobs × {HERTZ:g} Hz"
    return [
        Row(f"{what}, median", found.median, "ms", "limit", 5.0, "p50 ≤ 5 ms", found.median <= 5),
        Row(f"{what}, p99", found.p99, "ms", "limit", 25.0, "p99 ≤ 25 ms", found.p99 <= 25),
    ]


async def fan_out(site: Site) -> list[Row]:
    """One job that 1,000 clients watch, one event a second."""
    job_id = str(uuid4())
    found = await _watched(site, [job_id], [job_id] * WATCHERS, FAN_OUT_EVENTS, 1.0)
    memory = _resident_mib(site.gateway_pid)
    what = f"{WATCHERS:,} watchers of one job"
    return [
        Row(f"{what}, median", found.median, "ms", "prototype", 23.0, "", found.median <= 100),
        Row(f"{what}, p99", found.p99, "ms", "limit", 100.0, "p99 ≤ 100 ms", found.p99 <= 100),
        Row(f"{what}, gateway memory", memory, "MiB", "limit", MEMORY_MIB, "≤ 150 MB", memory <= MEMORY_MIB),
    ]


async def _watched(site: Site, jobs: list[str], watched: list[str], rounds: int, hertz: float) -> Latencies:
    """Latencies of `rounds` events of each of `jobs`, at one watcher for each job in `watched`."""
    channels = [_channel(site.gateway_port) for _ in range(CHANNELS)]
    arrivals = _Arrivals(rounds * len(watched))
    ready = asyncio.Semaphore(0)
    watchers = [
        asyncio.create_task(_watch(channels[number % CHANNELS], job_id, arrivals, ready))
        for number, job_id in enumerate(watched)
    ]
    async with asyncio.timeout(60):
        for _ in watchers:
            await ready.acquire()
    await _publish(site, jobs, rounds, hertz)
    async with asyncio.timeout(60):
        await arrivals.complete.wait()
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    for channel in channels:
        await channel.close()
    return arrivals.latencies()


class _Arrivals:
    """Collects the latencies of `expected` events."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._milliseconds: list[float] = []
        self.complete = asyncio.Event()

    def add(self, event: job_pb2.JobEvent) -> None:
        """Note that `event` has arrived now."""
        self._milliseconds.append((time.time_ns() - event.time.ToNanoseconds()) / 1e6)
        if len(self._milliseconds) == self._expected:
            self.complete.set()

    def latencies(self) -> Latencies:
        """What was collected."""
        found = sorted(self._milliseconds)
        return Latencies(statistics.median(found), found[len(found) * 99 // 100])


def _channel(port: int) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


async def _watch(channel: grpc.aio.Channel, job_id: str, arrivals: _Arrivals, ready: asyncio.Semaphore) -> None:
    call = jobs_service_pb2_grpc.JobsServiceStub(channel).WatchJob(pb.WatchJobRequest(id=job_id, heartbeat_seconds=60))
    async for response in call:
        if response.HasField("snapshot"):
            ready.release()
        elif response.HasField("event"):
            arrivals.add(response.event)


async def _publish(site: Site, jobs: list[str], rounds: int, hertz: float) -> None:
    arguments = [*_peer("worker"), site.nats_url, str(rounds), str(hertz), *jobs]
    worker = await asyncio.create_subprocess_exec(*arguments)
    if await worker.wait():
        raise RuntimeError("the worker failed")


def _peer(role: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.gateway_peers", role]


def _resident_mib(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


@contextmanager
def _site() -> Iterator[Site]:
    with ExitStack() as stack:
        folder, guard = stack.enter_context(tempfile.TemporaryDirectory()), stack.enter_context(Guard())
        nats = stack.enter_context(NatsServer(Path(folder), guard))
        backend = stack.enter_context(_process(_peer("backend"), {}))
        assert backend.stdout is not None
        backend_port, port = int(backend.stdout.readline()), choose_port(0)
        variables = {
            "MISTUDIO_LISTEN": f"127.0.0.1:{port}",
            "MISTUDIO_HTTP_LISTEN": "127.0.0.1:0",
            "MISTUDIO_DATASETS_TARGET": f"127.0.0.1:{backend_port}",
            "MISTUDIO_MODELS_TARGET": f"127.0.0.1:{backend_port}",
            "MISTUDIO_NATS_URL": nats.url,
        }
        gateway = stack.enter_context(_process([sys.executable, "-m", "mistudio_gateway.server"], variables))
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{port}"))
        grpc.channel_ready_future(channel).result(30)
        yield Site(nats.url, backend_port, port, gateway.pid)


@contextmanager
def _process(arguments: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        arguments, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()


if __name__ == "__main__":
    main()

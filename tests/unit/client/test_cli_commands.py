"""The `mistudio` command as a process of its own: its output, its exit statuses, its secrets."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2, datasets_service_pb2_grpc
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2_grpc
from mistudio_servicekit import errors
from mistudio_servicekit.interceptors import abort
from tests.unit.client.conftest import Serve
from tests.unit.client.scripted import JOB_ID, Disturbance, ScriptedLog, a_job, progress_event

DATASET_ID = "0197f2a4-0000-7b1a-9d2f-3e4a5b6c7d8e"


@dataclass
class Product(datasets_service_pb2_grpc.DatasetsServiceServicer):
    """One dataset, and the requests that came."""

    log: ScriptedLog
    requests: list[Any] = field(default_factory=list)
    refusal: errors.MistudioError | None = None
    datasets: list[dataset_pb2.Dataset] = field(
        default_factory=lambda: [
            dataset_pb2.Dataset(
                id=DATASET_ID, name="topics", repo_id="a/b", status=dataset_pb2.DATASET_STATUS_READY, rows=12_000
            )
        ]
    )

    async def DownloadDataset(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        if self.refusal:
            await abort(context, self.refusal)
        job = a_job(0, job_pb2.JOB_STATE_QUEUED)
        return datasets_service_pb2.DownloadDatasetResponse(dataset=self.datasets[0], job=job)

    async def GetDataset(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return datasets_service_pb2.GetDatasetResponse(dataset=self.datasets[0])

    async def ListDatasets(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        start = int(request.page_token or 0)
        page = self.datasets[start : start + request.page_size]
        end = start + len(page)
        token = str(end) if end < len(self.datasets) else ""
        return datasets_service_pb2.ListDatasetsResponse(datasets=page, next_page_token=token)

    async def ReadDamagedLines(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        for chunk in (b'{"line": 2}\n{"li', b'ne": 7}\n'):
            yield datasets_service_pb2.ReadDamagedLinesResponse(chunk=chunk)

    async def UploadDataset(self, parts: Any, context: Any) -> Any:
        self.requests.extend([part async for part in parts])
        return datasets_service_pb2.UploadDatasetResponse(dataset=self.datasets[0], job=a_job())


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Shell:
    """Runs `mistudio` against a product."""

    target: str
    product: Product
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(
        self, *arguments: str, out: int = asyncio.subprocess.PIPE, env: Mapping[str, str] | None = None
    ) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "mistudio_client.cli", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "MISTUDIO_GATEWAY": self.target, "TERM": "xterm", "COLUMNS": "160", **(env or {})},
        )
        self.started.append(process)
        return process

    async def run(self, *arguments: str, **env: str) -> Ended:
        process = await self.start(*arguments, env=env)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches the commands, also where the tests themselves run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
async def shell(serve: Serve, log: ScriptedLog, interruptible: None) -> AsyncIterator[Shell]:
    product = Product(log)
    _, target = await serve(
        (datasets_service_pb2_grpc.add_DatasetsServiceServicer_to_server, product),
        (jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, log),
    )
    shell = Shell(target, product)
    yield shell
    for process in shell.started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_piped_download_ends_well_in_plain_lines(shell: Shell) -> None:
    ended = await shell.run("datasets", "download", "a/b", "--split", "train", "--split", "test")
    assert (ended.status, ended.err) == (0, "")
    assert all(character == "\n" or character.isprintable() for character in ended.out)
    lines = ended.out.splitlines()
    assert lines[0] == "a/b  waiting for a worker"
    assert any(line.startswith("a/b  tokenizing  0 of 100 rows  0 %") for line in lines)
    assert any(line.startswith("a/b  done  100 rows") for line in lines)
    assert any(line.split() == ["rows", "12,000"] for line in lines)
    request = shell.product.requests[0]
    assert (request.repo_id, list(request.splits)) == ("a/b", ["train", "test"])
    assert request.request_id


async def test_a_terminal_gets_live_bars(shell: Shell) -> None:
    shell.product.log.disturbances = [Disturbance(9, silent=True)]
    ours, theirs = pty.openpty()
    process = await shell.start("datasets", "download", "a/b", out=theirs)
    os.close(theirs)
    drawn = await asyncio.to_thread(_read_until, ours, "15 of 100 rows")
    process.send_signal(signal.SIGINT)
    drawn += await asyncio.to_thread(_read_until, ours, None)
    os.close(ours)
    assert await process.wait() == 130
    assert "━" in drawn and "\x1b[" in drawn
    assert "15 %  15 of 100 rows  50 rows/s" in drawn


async def test_a_failed_job_ends_with_1_and_the_next_step_on_stderr(shell: Shell) -> None:
    failed = a_job(40, job_pb2.JOB_STATE_FAILED)
    failed.error.message = "The dataset has no rows. Choose another split."
    shell.product.log.events = [progress_event(40), job_pb2.JobEvent(job_id=JOB_ID, state_changed=failed)]
    ended = await shell.run("datasets", "download", "a/b")
    assert ended.status == 1
    assert "The dataset has no rows. Choose another split." in ended.err
    assert f"mistudio jobs retry {JOB_ID}" in ended.err
    assert "FAILED" in ended.out


async def test_a_refused_call_ends_with_1_and_its_text_on_stderr(shell: Shell) -> None:
    shell.product.refusal = errors.RepoGated("a/b is gated", next_step="Accept its terms and give a token")
    ended = await shell.run("datasets", "download", "a/b")
    assert (ended.status, ended.out, ended.err) == (1, "", "a/b is gated. Accept its terms and give a token.\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("datasets", "download"),
        ("datasets", "list", "--gateway", "nowhere"),
        ("datasets", "download", "a/b", "--hub-token-env", "NOT_SET_ANYWHERE"),
        ("jobs", "retry", JOB_ID, "--set", "novalue"),
        ("datasets", "upload", "/no/such/file"),
    ],
)
async def test_wrong_usage_ends_with_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    ended = await shell.run(*arguments)
    assert ended.status == 2
    assert "Usage: mistudio" in ended.err
    assert ended.out == ""
    assert shell.product.requests == []


async def test_ctrl_c_ends_with_130_and_says_how_to_come_back(shell: Shell) -> None:
    shell.product.log.disturbances = [Disturbance(3, silent=True)]
    process = await shell.start("datasets", "download", "a/b")
    assert process.stdout is not None and process.stderr is not None
    while not (await process.stdout.readline()).startswith(b"a/b  tokenizing"):
        pass
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    assert f"mistudio jobs watch {JOB_ID}" in (await process.stderr.read()).decode()


async def test_whoever_waits_for_a_job_that_no_worker_takes_learns_why(shell: Shell) -> None:
    queued = job_pb2.Job(id=JOB_ID, state=job_pb2.JOB_STATE_QUEUED)
    told = "no gpu worker is there, start one; 2 ahead"
    shell.product.log.snapshots = [job_pb2.Job(id=JOB_ID, state=queued.state, wait=job_pb2.JobWait(reason=told))]
    # What the log tells does not say it.
    shell.product.log.events = [job_pb2.JobEvent(job_id=JOB_ID, state_changed=queued)]
    shell.product.log.disturbances = [Disturbance(3, silent=True)]
    process = await shell.start("datasets", "download", "a/b")
    assert process.stdout is not None
    async with asyncio.timeout(100):
        while told not in (await process.stdout.readline()).decode():
            pass


async def test_a_hub_token_comes_from_the_named_variable_only(shell: Shell) -> None:
    await shell.run("datasets", "download", "a/b", "--detach", HF_TOKEN="hf_secret")
    ended = await shell.run(
        "datasets", "download", "a/b", "--detach", "--hub-token-env", "HF_TOKEN", HF_TOKEN="hf_secret"
    )
    tokens = [request.hub_token for request in shell.product.requests if hasattr(request, "hub_token")]
    assert tokens == ["", "hf_secret"]
    assert "hf_secret" not in ended.out + ended.err


async def test_json_is_one_document_in_the_names_of_the_protos(shell: Shell) -> None:
    ended = await shell.run("datasets", "download", "a/b", "--json")
    dataset = json.loads(ended.out)
    assert (dataset["id"], dataset["status"], dataset["repo_id"]) == (DATASET_ID, "DATASET_STATUS_READY", "a/b")


async def test_watching_in_json_is_a_line_for_every_update(shell: Shell) -> None:
    ended = await shell.run("jobs", "watch", JOB_ID, "--json")
    updates = [json.loads(line) for line in ended.out.splitlines()]
    assert "snapshot" in updates[0]
    assert updates[-1]["event"]["state_changed"]["state"] == "JOB_STATE_SUCCEEDED"
    assert len(updates) == 1 + len(shell.product.log.events)


async def test_watching_all_jobs_tells_each_until_ctrl_c(shell: Shell) -> None:
    process = await shell.start("jobs", "watch", "--filter", "service = datasets")
    assert process.stdout is not None
    while b"  done  " not in await process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    assert shell.product.log.filters_seen == ["service = datasets"]


async def test_a_list_goes_on_over_pages_up_to_its_limit(shell: Shell) -> None:
    shell.product.datasets = [dataset_pb2.Dataset(id=str(number), name=f"d{number}") for number in range(1200)]
    ended = await shell.run("datasets", "list", "--limit", "1100")
    lines = ended.out.splitlines()
    assert len(lines) == 1 + 1100
    assert lines[0].split() == ["id", "name", "status", "rows", "size", "created"]
    assert [request.page_size for request in shell.product.requests] == [500, 500, 100]


async def test_a_dataset_is_named_by_its_repository(shell: Shell) -> None:
    assert (await shell.run("datasets", "get", "a/b")).status == 0
    assert shell.product.requests[-1].id == DATASET_ID


async def test_an_unknown_or_ambiguous_name_ends_with_1_and_what_to_do(shell: Shell) -> None:
    unknown = await shell.run("datasets", "get", "nobody/nothing")
    assert unknown.status == 1
    assert "There is no dataset 'nobody/nothing'. `mistudio datasets list`" in unknown.err
    twin = dataset_pb2.Dataset(id="other", name="a/b", status=dataset_pb2.DATASET_STATUS_READY)
    shell.product.datasets.append(twin)
    ambiguous = await shell.run("datasets", "get", "a/b")
    assert ambiguous.status == 1
    assert f"{DATASET_ID}, other. Give one of these ids." in ambiguous.err


async def test_an_upload_is_shown_and_followed(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text\nhello\n")
    ended = await shell.run("datasets", "upload", str(tmp_path / "rows.csv"), "--format", "csv")
    assert ended.status == 0, ended.err
    assert "rows.csv  uploading  11 B of 11 B" in ended.out
    assert shell.product.requests[0].header.format == dataset_pb2.UPLOAD_FORMAT_CSV


async def test_damaged_lines_are_written_as_they_are(shell: Shell, tmp_path: Path) -> None:
    ended = await shell.run("datasets", "damaged", DATASET_ID)
    assert (ended.status, ended.out) == (0, '{"line": 2}\n{"line": 7}\n')
    assert shell.product.requests[-1].dataset_id == DATASET_ID
    ended = await shell.run("datasets", "damaged", DATASET_ID, "-o", str(tmp_path / "damaged.jsonl"))
    assert (ended.status, ended.out) == (0, "")
    assert (tmp_path / "damaged.jsonl").read_text() == '{"line": 2}\n{"line": 7}\n'


async def test_no_gateway_ends_with_1_and_how_to_start_one(shell: Shell) -> None:
    ended = await shell.run("jobs", "list", "--gateway", "127.0.0.1:1")
    assert ended.status == 1
    assert "make up" in ended.err


def _read_until(descriptor: int, text: str | None) -> str:
    """What comes from a terminal up to and with `text`, or up to its end."""
    read = bytearray()
    while text is None or text.encode() not in read:
        try:
            read += os.read(descriptor, 65536)
        except OSError:  # how Linux tells that the other side has closed
            break
    return read.decode()

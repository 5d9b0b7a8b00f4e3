"""`mistudio datasets samples`, `cell`, `columns` and `index`, followed and shown."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mistudio.datasets.v1 import (
    column_statistics_pb2,
    dataset_pb2,
    datasets_service_pb2,
    datasets_service_pb2_grpc,
    sample_pb2,
)
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2_grpc
from mistudio_servicekit import errors
from mistudio_servicekit.interceptors import abort
from tests.unit.client.conftest import Serve
from tests.unit.client.scripted import JOB_ID, ScriptedLog, a_job
from tests.unit.client.test_cli_commands import DATASET_ID, Shell

TOKENIZATION_ID = "0197f2a4-0001-7b1a-9d2f-3e4a5b6c7d8e"


@dataclass
class Rows(datasets_service_pb2_grpc.DatasetsServiceServicer):
    """One dataset with the columns `text` and `lang`, whose statistics are not made yet."""

    pages: list[datasets_service_pb2.ListSamplesResponse] = field(default_factory=list)
    content: list[sample_pb2.SampleContent] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    statistics_are_made: bool = False

    async def GetDataset(self, request: Any, context: Any) -> Any:
        columns = [dataset_pb2.Column(name=name, type="string") for name in ("text", "lang")]
        dataset = dataset_pb2.Dataset(id=request.id, name="topics", columns=columns)
        return datasets_service_pb2.GetDatasetResponse(dataset=dataset)

    async def ListSamples(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return self.pages[int(request.page_token or 0)]

    async def GetSample(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.requests.append(request)
        for content in self.content:
            yield datasets_service_pb2.GetSampleResponse(content=content)

    async def GetColumnStatistics(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        if not self.statistics_are_made:
            await abort(context, errors.ColumnStatisticsNotReady("They are not made", next_step="Make them"))
        return datasets_service_pb2.GetColumnStatisticsResponse(split="train", columns=[a_column()])

    async def CreateColumnStatistics(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        self.statistics_are_made = True
        return datasets_service_pb2.CreateColumnStatisticsResponse(job=a_job(0, job_pb2.JOB_STATE_QUEUED))

    async def CreateWordIndex(self, request: Any, context: Any) -> Any:
        self.requests.append(request)
        return datasets_service_pb2.CreateWordIndexResponse(job=a_job(0, job_pb2.JOB_STATE_QUEUED))


def a_column() -> column_statistics_pb2.ColumnStatistics:
    lengths = column_statistics_pb2.NumberFigures(min=1, max=1200, mean=17.25, standard_deviation=3)
    lengths.percentiles.add(percentile=50, value=12)
    lengths.histogram.add(to=1024, rows=90)
    column = column_statistics_pb2.ColumnStatistics(
        column="text", type="string", rows=100, nulls=10, distinct=80, distinct_is_exact=True,
        lengths=lengths, length_unit="characters",
    )  # fmt: skip
    column.top_values.add(value="hello", count=7)
    return column


def a_page(*texts: str, **facts: Any) -> datasets_service_pb2.ListSamplesResponse:
    """A page of rows whose second character was found."""
    page = datasets_service_pb2.ListSamplesResponse(**facts)
    for number, text in enumerate(texts):
        sample = page.samples.add(row=number, score=1.5)
        sample.values.update({"text": "the whole of it", "lang": None})
        sample.snippets.add(column="text", text=text, match_start=1, match_end=2)
    return page


def a_cell(*chunks: bytes, media_type: str = "text/plain", is_null: bool = False) -> list[sample_pb2.SampleContent]:
    header = sample_pb2.SampleContentHeader(media_type=media_type, size_bytes=sum(map(len, chunks)), is_null=is_null)
    first, *rest = chunks or (b"",)
    return [sample_pb2.SampleContent(header=header, chunk=first), *(sample_pb2.SampleContent(chunk=c) for c in rest)]


@pytest.fixture
async def rows() -> Rows:
    return Rows()


@pytest.fixture
async def shell(serve: Serve, rows: Rows, log: ScriptedLog) -> AsyncIterator[Shell]:
    _, target = await serve(
        (datasets_service_pb2_grpc.add_DatasetsServiceServicer_to_server, rows),
        (jobs_service_pb2_grpc.add_JobsServiceServicer_to_server, log),
    )
    shell = Shell(target, None)  # type: ignore[arg-type]  # this shell's product is `rows`
    yield shell
    for process in shell.started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def in_terminal(shell: Shell, *arguments: str) -> tuple[int, str]:
    """The status of a command and what it draws."""
    ours, theirs = pty.openpty()
    process = await shell.start(*arguments, out=theirs)
    os.close(theirs)
    _, drawn = await asyncio.gather(process.communicate(), asyncio.to_thread(_drawn, ours))
    assert process.returncode is not None
    return process.returncode, drawn


def _drawn(descriptor: int) -> str:
    read = bytearray()
    while True:
        try:
            read += os.read(descriptor, 65536)
        except OSError:  # how Linux tells that the other side has closed
            os.close(descriptor)
            return read.decode()


async def test_every_part_of_a_query_is_asked_for(shell: Shell, rows: Rows) -> None:
    rows.pages = [a_page("abc")]
    ended = await shell.run(
        *("datasets", "samples", DATASET_ID, "--split", "test", "--offset", "3", "--limit", "7", "--count"),
        *("--filter", "score > 1", "--regex", "a.c", "--ignore-case", "--column", "text", "--column", "lang"),
        *("--tokenization", TOKENIZATION_ID, "--min-tokens", "5", "--max-tokens", "9"),
    )
    assert ended.status == 0, ended.err
    length = sample_pb2.TokenLengthCondition(tokenization_id=TOKENIZATION_ID, min_tokens=5, max_tokens=9)
    query = sample_pb2.SampleQuery(
        filter="score > 1", regex="a.c", ignore_case=True, search_columns=["text", "lang"], token_length=length
    )
    assert rows.requests == [
        datasets_service_pb2.ListSamplesRequest(
            dataset_id=DATASET_ID, split="test", offset=3, page_size=7, query=query, include_total=True
        )
    ]


async def test_without_a_query_every_row_is_asked_for(shell: Shell, rows: Rows) -> None:
    rows.pages = [a_page("abc", total_size=12_000, total_is_known=True)]
    ended = await shell.run("datasets", "samples", DATASET_ID)
    assert not rows.requests[0].HasField("query")
    assert ended.err == "1 of 12,000 rows\n"


async def test_found_rows_show_where_their_score_and_how_they_were_ranked(shell: Shell, rows: Rows) -> None:
    rows.pages = [
        a_page("a\x1bc", ranking=sample_pb2.RANKING_SCAN, word_index_job_id=JOB_ID, next_page_token="1"),
        a_page("def", ranking=sample_pb2.RANKING_INDEX, total_size=2, total_is_known=True),
    ]
    first = await shell.run("datasets", "samples", DATASET_ID, "--words", "b", "--limit", "1")
    assert [line.split() for line in first.out.splitlines()] == [
        ["row", "score", "text", "lang"],
        ["0", "1.50", r"a\x1bc", "—"],
    ]
    assert "1 shown; there may be more" in first.err
    assert f"the word index is being built: mistudio jobs watch {JOB_ID}" in first.err
    both = await shell.run("datasets", "samples", DATASET_ID, "--words", "b")
    assert both.err == "2 of 2 matching rows\nranked by the word index\n"


async def test_a_match_is_highlighted_in_a_terminal(shell: Shell, rows: Rows) -> None:
    rows.pages = [a_page("a\x07c")]
    status, drawn = await in_terminal(shell, "datasets", "samples", DATASET_ID, "--contains", "b")
    assert (status, "\x07" in drawn) == (0, False)
    assert "a\x1b[1;7m\\x07\x1b[0mc" in drawn


async def test_samples_in_json_are_the_answer_alone(shell: Shell, rows: Rows) -> None:
    rows.pages = [a_page("abc", total_size=1, total_is_known=True)]
    ended = await shell.run("datasets", "samples", DATASET_ID, "--json")
    assert (json.loads(ended.out)["total_size"], ended.err) == ("1", "")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--contains", "a", "--words", "b"), "--contains and --words exclude one another"),
        (("--min-tokens", "5"), "Give both"),
        (("--tokenization", TOKENIZATION_ID), "Give both"),
    ],
)
async def test_queries_that_cannot_be_meant_are_wrong_usage(
    shell: Shell, rows: Rows, options: tuple[str, ...], problem: str
) -> None:
    ended = await shell.run("datasets", "samples", DATASET_ID, *options)
    assert (ended.status, rows.requests) == (2, [])
    assert problem in ended.err


async def test_a_whole_cell_is_written_byte_for_byte(shell: Shell, rows: Rows, tmp_path: Path) -> None:
    rows.content = a_cell(b"\x89PNG", b"\x00\xff", media_type="image/png")
    target = tmp_path / "cell.png"
    ended = await shell.run("datasets", "cell", DATASET_ID, "5", "image", "--split", "test", "-o", str(target))
    assert (ended.status, ended.out, target.read_bytes()) == (0, "", b"\x89PNG\x00\xff")
    (request,) = rows.requests
    assert (request.row, request.column, request.split) == (5, "image", "test")


async def test_the_pieces_of_a_cell_in_json_are_a_line_each(shell: Shell, rows: Rows) -> None:
    rows.content = a_cell(b"one", b"two")
    ended = await shell.run("datasets", "cell", DATASET_ID, "5", "--json")
    first, second = map(json.loads, ended.out.splitlines())
    assert (first["header"]["size_bytes"], second["chunk"]) == ("6", "dHdv")


async def test_a_null_cell_is_told_and_not_written(shell: Shell, rows: Rows, tmp_path: Path) -> None:
    rows.content = a_cell(is_null=True)
    ended = await shell.run("datasets", "cell", DATASET_ID, "5", "text", "-o", str(tmp_path / "cell"))
    assert (ended.status, ended.err) == (0, "text of row 5 is null: there is nothing to write.\n")
    assert not (tmp_path / "cell").exists()


async def test_an_empty_cell_is_an_empty_file(shell: Shell, rows: Rows, tmp_path: Path) -> None:
    rows.content = a_cell(b"")
    await shell.run("datasets", "cell", DATASET_ID, "5", "text", "-o", str(tmp_path / "cell"))
    assert (tmp_path / "cell").read_bytes() == b""


async def test_a_cell_cannot_steer_a_terminal(shell: Shell, rows: Rows) -> None:
    whole = "one\ntwo\x1b[2Jé".encode()
    rows.content = a_cell(whole[:-1], whole[-1:])
    status, drawn = await in_terminal(shell, "datasets", "cell", DATASET_ID, "5", "text")
    assert (status, drawn) == (0, "one\r\ntwo\\x1b[2Jé\r\n")
    rows.content = a_cell(b"\x89PNG", media_type="image/png")
    assert await in_terminal(shell, "datasets", "cell", DATASET_ID, "5", "image") == (1, "")


async def test_statistics_that_are_not_made_yet_are_made_and_followed(shell: Shell, rows: Rows) -> None:
    ended = await shell.run("datasets", "columns", DATASET_ID, "--split", "train")
    assert ended.status == 0, ended.err
    assert f"column statistics of {DATASET_ID}  done" in ended.out
    *_, row = ended.out.splitlines()
    assert row.split()[:2] == ["text", "string"]
    assert "10 (10.0 %)" in row
    assert "1 to 1,200 characters, mean 17.25, median 12, deviation 3" in row
    assert "hello (7)" in row
    again = await shell.run("datasets", "columns", DATASET_ID)
    assert "done" not in again.out


async def test_a_named_column_is_told_in_full(shell: Shell, rows: Rows) -> None:
    rows.statistics_are_made = True
    ended = await shell.run("datasets", "columns", DATASET_ID, "--column", "text")
    assert list(rows.requests[0].columns) == ["text"]
    assert "rows by characters\n0–1,024  " in ended.out
    assert "50 %: 12" in ended.out


async def test_a_word_index_is_built_and_followed(shell: Shell, rows: Rows) -> None:
    ended = await shell.run("datasets", "index", DATASET_ID)
    assert f"word index of {DATASET_ID}  done" in ended.out
    assert rows.requests == [datasets_service_pb2.CreateWordIndexRequest(dataset_id=DATASET_ID)]

"""Figures, bars, lines, tables and histograms as people see them."""

from __future__ import annotations

import io

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.text import Text

from mistudio.datasets.v1 import tokenization_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_client.cli.rendering import formats, progress
from mistudio_client.cli.rendering.histogram import bar, length_histogram
from mistudio_client.cli.rendering.resources import tokenization_facts
from mistudio_client.cli.rendering.tables import show_facts, show_table
from mistudio_client.cli.rendering.tokens import show_sequence, show_statistics
from mistudio_client.cli.rendering.views import BarsView, LinesView, view_for


def pipe() -> Console:
    return Console(file=io.StringIO(), highlight=False, markup=False, emoji=False)


def terminal(width: int = 160) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, _environ={"TERM": "xterm"})


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def download(
    done: int, total: int = 91_000_000, state: job_pb2.JobState.ValueType = job_pb2.JOB_STATE_RUNNING
) -> job_pb2.Job:
    figures = job_pb2.Progress(
        done=done, total=total, unit="bytes", stage="downloading", fraction=done / total if total else 0
    )
    if 0 < done < total:
        figures.rate, figures.eta_seconds = 40e6, (total - done) / 40e6
    return job_pb2.Job(id="j", state=state, attempt=1, progress=figures)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (91_000_000, "91.0 MB"), (3.2e15, "3.2 PB")],
)
def test_sizes_are_read_at_a_glance(size: float, text: str) -> None:
    assert formats.byte_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (42.4, "42 s"), (59.6, "60 s"), (185, "3:05"), (7385, "2:03:05")],
)
def test_time_spans_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text


def test_foreign_text_cannot_steer_the_terminal() -> None:
    assert formats.visible("a\x1b[31mred\n\x07é模") == r"a\x1b[31mred\n\x07é模"


def test_a_running_job_tells_bytes_share_rate_and_eta() -> None:
    line = progress.running_line(download(45_500_000))
    assert line == "downloading  45.5 MB of 91.0 MB  50 %  40.0 MB/s  ETA 1.1 s"


def test_a_queued_job_tells_what_it_waits_for() -> None:
    wait = job_pb2.JobWait(ahead=3, reason="waiting for a gpu worker, 3 ahead")
    assert progress.running_line(job_pb2.Job(state=job_pb2.JOB_STATE_QUEUED, wait=wait)) == wait.reason


def test_a_tokenization_tells_that_its_model_is_deleted() -> None:
    facts = dict(tokenization_facts(tokenization_pb2.Tokenization(model_delete_time=Timestamp(seconds=86_400))))
    assert facts["model deleted"] == "1970-01-02 00:00:00"


def test_a_tokenization_tells_rows_bytes_and_tokens() -> None:
    job = job_pb2.Job(state=job_pb2.JOB_STATE_RUNNING, attempt=2)
    job.progress.CopyFrom(
        job_pb2.Progress(done=1200, total=4800, unit="rows", stage="tokenizing", fraction=0.25, rate=600)
    )
    job.progress.metrics.update({"bytes": 1e6, "bytes_total": 4e6, "tokens": 250_000})
    assert progress.running_line(job) == (
        "tokenizing (attempt 2)  1,200 of 4,800 rows  25 %  1.0 MB of 4.0 MB, 250,000 tokens  600 rows/s"
    )


def test_an_unknown_total_makes_no_share() -> None:
    assert progress.running_line(download(1_000_000, total=0)) == "downloading  1.0 MB"


def test_a_job_that_waits_to_try_again_tells_why() -> None:
    job = job_pb2.Job(state=job_pb2.JOB_STATE_RETRY_WAIT, attempt=1)
    job.error.message = "The Hub answered with 503. Wait."
    assert progress.running_line(job) == "waiting to try again  The Hub answered with 503. Wait."


def test_a_finished_job_tells_what_it_did_and_how_long_that_took() -> None:
    job = download(91_000_000, state=job_pb2.JOB_STATE_SUCCEEDED)
    job.start_time.CopyFrom(Timestamp(seconds=100))
    job.end_time.CopyFrom(Timestamp(seconds=102))
    assert progress.outcome(job) == "done  91.0 MB  in 2.0 s  45.5 MB/s"


def test_steps_of_a_last_stage_are_not_taken_for_the_work() -> None:
    job = job_pb2.Job(state=job_pb2.JOB_STATE_SUCCEEDED, progress=job_pb2.Progress(done=1, total=1, unit="files"))
    job.end_time.seconds = 3
    assert progress.outcome(job) == "done  in 3.0 s"


def test_lines_come_at_every_change_and_once_a_second_between() -> None:
    now = [0.0]
    console = pipe()
    view = LinesView(console, clock=lambda: now[0])
    with view:
        for tenth in range(25):
            now[0] = tenth / 10
            view.show("gpt2", download(1_000_000 * tenth))
        view.show("gpt2", download(91_000_000, state=job_pb2.JOB_STATE_SUCCEEDED))
    lines = printed(console).splitlines()
    assert [line.split("  ")[2] for line in lines[:3]] == ["0 B of 91.0 MB", "10.0 MB of 91.0 MB", "20.0 MB of 91.0 MB"]
    assert lines[3].startswith("gpt2  done")
    assert len(lines) == 4


def test_a_pipe_gets_lines_without_control_characters() -> None:
    console = pipe()
    view = view_for(console)
    assert isinstance(view, LinesView)
    with view:
        view.show("evil\x1b[2J", download(5))
    assert all(character == "\n" or character.isprintable() for character in printed(console))


def test_a_terminal_gets_a_bar_for_every_running_job_and_a_line_for_every_ended_one() -> None:
    console = terminal(width=80)
    view = view_for(console)
    assert isinstance(view, BarsView)
    with view:
        view.show("model", download(45_500_000))
        view.show("dataset", download(0, total=0))
        view.show("dataset", download(91_000_000, state=job_pb2.JOB_STATE_SUCCEEDED))
    last_frame = Text.from_ansi(printed(console)).plain
    assert "dataset  done  91.0 MB\n" in last_frame
    assert "model  downloading\n" in last_frame
    assert "━  50 %  45.5 MB of 91.0 MB  40.0 MB/s  ETA 1.1 s" in last_frame


def test_a_dumb_terminal_gets_lines() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert isinstance(view_for(console), LinesView)


def test_a_piped_table_is_aligned_uncut_and_plain() -> None:
    console = pipe()
    show_table(console, ["name", "rows"], [["a" * 300, "7"], ["b", "12,000"]], numeric="rows")
    header, first, second = printed(console).splitlines()
    assert first == "a" * 300 + "  " + "     7"
    assert second == "b" + " " * 301 + "12,000"
    assert header.split() == ["name", "rows"]


def test_facts_without_a_value_are_left_out() -> None:
    console = pipe()
    show_facts(console, [("id", "7"), ("error", ""), ("status", "READY")])
    assert printed(console) == "id      7\nstatus  READY\n"


@pytest.mark.parametrize(("value", "drawn"), [(0, ""), (1, "▏"), (500, "█████"), (1000, "██████████")])
def test_bars_are_as_long_as_their_values(value: float, drawn: str) -> None:
    assert bar(value, 1000, 10) == drawn


def test_a_histogram_leaves_out_empty_ends_and_keeps_gaps() -> None:
    edges, counts = [0, 1, 2, 4, 8, 1024], [0, 3, 0, 1200, 0]
    bins = [
        tokenization_pb2.LengthBin(from_tokens=low, to_tokens=high, documents=count)
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]
    assert length_histogram(bins, width=4) == ["  1  ▏     3", "2–3        0", "4–7  ████  1,200"]
    assert length_histogram([]) == []


def test_statistics_show_every_figure() -> None:
    statistics = tokenization_pb2.TokenizationStatistics(
        documents=10, empty_documents=1, tokens=1234, max_tokens=400, mean_tokens=123.4, median_tokens=100,
        vocabulary_size=1000, vocabulary_used=250,
    )  # fmt: skip
    statistics.percentiles.add(percentile=95, tokens=380)
    statistics.histogram.add(from_tokens=0, to_tokens=512, documents=10)
    statistics.top_tokens.add(token_id=5, token="the", count=77)
    console = pipe()
    show_statistics(console, statistics)
    text = printed(console)
    for figure in ("1,234", "shortest 0, mean 123.4, median 100, longest 400", "95 %: 380", "250 of 1,000 (25.0 %)"):
        assert figure in text
    assert "the 77" in text
    assert "0–511  " + "█" * 40 + "  10" in text


def test_a_document_shows_its_pieces_and_ids() -> None:
    sequence = tokenization_pb2.TokenSequence(document=3, token_ids=[1, 22], tokens=["he", "\n"], total_tokens=900)
    console = pipe()
    show_sequence(console, sequence)
    assert printed(console) == "document 3, 900 tokens\n  tokens  he|\\n\n  ids     1 22\n"

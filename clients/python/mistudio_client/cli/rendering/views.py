"""Live views of running jobs: bars in a terminal, lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mistudio.jobs.v1 import job_pb2
from mistudio_client.cli.rendering import progress as words
from mistudio_client.cli.rendering.formats import byte_size, visible
from mistudio_client.jobs import has_ended

_SECONDS_BETWEEN_LINES = 1.0
_BAR_WIDTH = 24
_FRAMES_PER_SECOND = 10


class JobsView(ABC):
    """Shows jobs while they run; enter it, then tell it every change."""

    @abstractmethod
    def show(self, label: str, job: job_pb2.Job) -> None:
        """The job called `label` is now like this."""

    @abstractmethod
    def show_upload(self, label: str, sent: int, total: int) -> None:
        """`sent` of `total` bytes of the file called `label` are on their way."""

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027  # only views that draw have something to end
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on screen."""


class QuietView(JobsView):
    """Shows nothing: for programs that read the output."""

    def show(self, label: str, job: job_pb2.Job) -> None:
        """Nothing."""

    def show_upload(self, label: str, sent: int, total: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Bar:
    """A bar as it is drawn: a heading, and below it the bar with figures. A bar without a total pulses."""

    heading: str
    done: int
    total: int
    figures: str

    def drawn(self) -> RenderableType:
        """The bar's two lines, which fit 80 columns unless names or figures are huge."""
        grid = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(self.total or None, self.done, width=_BAR_WIDTH, pulse=not self.total)
        grid.add_row("", bar, Text(self.figures, no_wrap=True, overflow="ellipsis"))
        return Group(Text(self.heading, no_wrap=True, overflow="ellipsis"), grid)


class BarsView(JobsView):
    """A live bar for every job that runs; one that has ended becomes a line above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[str, Bar] = {}
        self._live = Live(console=console, get_renderable=self._drawn, refresh_per_second=_FRAMES_PER_SECOND)

    def show(self, label: str, job: job_pb2.Job) -> None:
        """Move the job's bar on, or end it."""
        if has_ended(job):
            self._bars.pop(label, None)
            style = "bold red" if job.state == job_pb2.JOB_STATE_FAILED else ""
            self._console.print(Text(f"{visible(label)}  {words.outcome(job)}", style=style), soft_wrap=True)
            return
        heading = f"{visible(label)}  {words.heading(job)}"
        self._bars[label] = Bar(heading, job.progress.done, job.progress.total, words.bar_figures(job))

    def show_upload(self, label: str, sent: int, total: int) -> None:
        """Move the upload's bar on."""
        figures = f"{byte_size(sent)} of {byte_size(total)}"
        self._bars[label] = Bar(f"{visible(label)}  uploading", sent, total, figures)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw the bars for the last time."""
        self._live.stop()

    def _drawn(self) -> RenderableType:
        # Called by the drawing thread while the bars change.
        return Group(*(bar.drawn() for bar in list(self._bars.values())))


class LinesView(JobsView):
    """A line for every change of state or stage, and about one a second between them."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._said: dict[str, tuple[str, float]] = {}

    def show(self, label: str, job: job_pb2.Job) -> None:
        """Say it, if there is something new or enough time has passed."""
        line = words.outcome(job) if has_ended(job) else words.running_line(job)
        self._say(label, f"{job.state}{job.attempt}{job.progress.stage}", line)

    def show_upload(self, label: str, sent: int, total: int) -> None:
        """Say it at the end, and about once a second before."""
        self._say(label, "sent" if sent == total else "sending", f"uploading  {byte_size(sent)} of {byte_size(total)}")

    def _say(self, label: str, phase: str, line: str) -> None:
        now = self._clock()
        last_phase, at = self._said.get(label, ("", now))
        if phase == last_phase and now - at < _SECONDS_BETWEEN_LINES:
            return
        self._said[label] = (phase, now)
        self._console.print(Text(f"{visible(label)}  {line}"), soft_wrap=True)


def view_for(console: Console) -> JobsView:
    """Bars where they can be drawn, lines elsewhere."""
    return BarsView(console) if draws(console) else LinesView(console)


def draws(console: Console) -> bool:
    """Whether the console is a terminal that can move its cursor."""
    return console.is_terminal and not console.is_dumb_terminal

"""What every command that talks to a gateway shares: its options, its client, its output, its exit status."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol

import click

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_client.cli.failures import CommandFailed, JobNotSucceeded
from mistudio_client.cli.output import Output
from mistudio_client.cli.rendering.formats import moment
from mistudio_client.cli.rendering.views import JobsView
from mistudio_client.client import Client
from mistudio_client.errors import MistudioCallError
from mistudio_client.jobs import has_ended

DEFAULT_GATEWAY = "127.0.0.1:50050"
EXIT_FAILED = 1
EXIT_INTERRUPTED = 128 + signal.SIGINT
_WAIT_LOOK_SECONDS = 1.0

Options = ParamSpec("Options")


class Started(Protocol):
    """The answer of a call that starts work, or joins what is there."""

    joined: bool

    @property
    def job(self) -> job_pb2.Job:
        """The job that does the work."""


@dataclass(frozen=True)
class Session:
    """One run of a command."""

    client: Client
    output: Output

    async def follow(self, view: JobsView, label: str, started: job_pb2.Job) -> job_pb2.Job:
        """The job once it has succeeded, shown under `label` until then.

        Raises:
            JobNotSucceeded: it failed or was cancelled.
        """
        job = started
        view.show(label, job)
        if not has_ended(started):
            waiting = asyncio.create_task(self._tell_wait(view, label, started.id))
            try:
                async for job in self.client.follow(started.id):
                    if job.state != job_pb2.JOB_STATE_QUEUED:
                        waiting.cancel()
                    view.show(label, job)
            finally:
                waiting.cancel()
        if job.state != job_pb2.JOB_STATE_SUCCEEDED:
            raise JobNotSucceeded(job)
        return job

    async def _tell_wait(self, view: JobsView, label: str, job_id: str) -> None:
        """Show what the job waits for whenever that has changed, until cancelled: no event tells it."""
        told = ""
        with suppress(MistudioCallError):  # whoever follows the job says what is wrong
            while True:
                await asyncio.sleep(_WAIT_LOOK_SECONDS)
                job = (await self.client.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=job_id))).job
                if job.wait.reason != told:
                    told = job.wait.reason
                    view.show(label, job)

    async def follow_alone(self, label: str, job: job_pb2.Job) -> job_pb2.Job:
        """As `follow`, in a view of its own; a user who interrupts is told that the job goes on."""
        try:
            with self.output.jobs_view() as view:
                return await self.follow(view, label, job)
        except asyncio.CancelledError:
            self.output.note(f"The job goes on. See it again with `mistudio jobs watch {job.id}`.")
            raise

    async def follow_started(self, name: str, started: Started, *, detach: bool) -> None:
        """As `follow_alone`, with what is called `name`; with `detach` not at all."""
        if not detach:
            await self.follow_alone(label_of(name, started.joined, started.job), started.job)


def label_of(name: str, joined: bool, job: job_pb2.Job) -> str:
    """What a started job is called in a view; says so where nothing was started anew."""
    if not joined:
        return name
    return f"{name} (here since {moment(job.end_time)} UTC)" if has_ended(job) else f"{name} (already on its way)"


Command = Callable[Concatenate[Session, Options], Awaitable[None]]


def online(command: Command[Options]) -> Callable[..., None]:
    """Make a coroutine that takes a `Session` a click command with the options `--gateway` and `--json`."""

    @click.option(
        "--gateway",
        envvar="MISTUDIO_GATEWAY",
        default=DEFAULT_GATEWAY,
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT[,…]",
        help="Gateway, or several replicas separated by commas.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print protobuf JSON in place of text.")
    @functools.wraps(command)
    def run(gateway: str, as_json: bool, **options: Any) -> None:
        work = functools.partial(_run, command, _targets(gateway), Output.to_terminal(as_json), options)
        sys.exit(exit_status(work))

    return run


async def _run(command: Callable[..., Awaitable[None]], targets: list[str], output: Output, options: Any) -> None:
    async with Client(targets) as client:
        await command(Session(client, output), **options)


def exit_status(work: Callable[[], Any]) -> int:
    """Run the coroutine that `work` makes; errors become a text on stderr and the status of the process."""
    try:
        asyncio.run(work())
    except (MistudioCallError, CommandFailed) as error:
        click.echo(str(error), err=True)
        return EXIT_FAILED
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise  # click ends quietly: whoever read the output has had enough
        click.echo(
            f"{error.filename or 'The system'}: {error.strerror or error}. Check the name and its rights.", err=True
        )
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _targets(gateway: str) -> list[str]:
    targets = [part.strip() for part in gateway.split(",") if part.strip()]
    for target in targets:
        if not target.rpartition(":")[2].isdigit():
            raise click.UsageError(f"The gateway {target!r} has no port. Give it as HOST:PORT, like {DEFAULT_GATEWAY}.")
    if not targets:
        raise click.UsageError(f"The gateway is empty. Give it as HOST:PORT, like {DEFAULT_GATEWAY}.")
    return targets

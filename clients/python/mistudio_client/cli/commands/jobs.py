"""`mistudio jobs`: look at long work, watch it, cancel it, retry it."""

from __future__ import annotations

import json
from contextlib import aclosing

import click
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_client.cli.options import detach_option, limit_option, list_options
from mistudio_client.cli.paging import collect
from mistudio_client.cli.rendering.resources import (
    EVENT_COLUMNS,
    JOB_COLUMNS,
    JOB_NUMERIC,
    event_row,
    job_facts,
    job_label,
    job_row,
)
from mistudio_client.cli.session import Session, online
from mistudio_client.jobs import after, first_seen


@click.group()
def jobs() -> None:
    """Look at long work, watch it, cancel it, retry it."""


@jobs.command("list")
@list_options
@online
async def list_jobs(session: Session, filter_text: str, order_by: str, limit: int) -> None:
    """List jobs of every service, newest first."""
    request = jobs_service_pb2.ListJobsRequest(filter=filter_text, order_by=order_by)
    listing = await collect(session.client.jobs.ListJobs, request, limit)
    session.output.table(listing, JOB_COLUMNS, map(job_row, listing.jobs), JOB_NUMERIC)


@jobs.command()
@click.argument("identifier", metavar="ID")
@online
async def get(session: Session, identifier: str) -> None:
    """Show the job ID with its attempts."""
    job = (await session.client.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=identifier))).job
    session.output.facts(job, job_facts(job))


@jobs.command()
@click.argument("identifier", metavar="[ID]", required=False)
@click.option("--filter", "filter_text", default="", help="Without ID: only these, such as 'service = models'.")
@online
async def watch(session: Session, identifier: str | None, filter_text: str) -> None:
    """Watch the job ID until it ends, or all jobs until Ctrl-C."""
    if identifier and filter_text:
        raise click.UsageError("A filter goes with watching all jobs. Leave out --filter or the id.")
    if identifier and session.output.as_json:
        await _print_one(session, identifier)
    elif identifier:
        job = (await session.client.jobs.GetJob(jobs_service_pb2.GetJobRequest(id=identifier))).job
        await session.follow_alone(job_label(job), job)
    elif session.output.as_json:
        await _print_all(session, filter_text)
    else:
        await _show_all(session, filter_text)


@jobs.command()
@click.argument("identifier", metavar="ID")
@online
async def cancel(session: Session, identifier: str) -> None:
    """Ask the job ID to stop."""
    answer = await session.client.jobs.CancelJob(jobs_service_pb2.CancelJobRequest(id=identifier))
    session.output.done(answer, f"Cancelled job {identifier}.")


@jobs.command()
@click.argument("identifier", metavar="ID")
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Changed setting, may be repeated.")
@detach_option
@online
async def retry(session: Session, identifier: str, changes: tuple[str, ...], detach: bool) -> None:
    """Start the failed or cancelled job ID afresh."""
    request = jobs_service_pb2.RetryJobRequest(id=identifier, settings=_settings(changes))
    answer = await session.client.jobs.RetryJob(request)
    job = answer.job if detach else await session.follow_alone(job_label(answer.job), answer.job)
    session.output.facts(job, job_facts(job))


@jobs.command()
@click.argument("identifier", metavar="ID")
@limit_option
@online
async def events(session: Session, identifier: str, limit: int) -> None:
    """Show what happened to the job ID, oldest first."""
    request = jobs_service_pb2.ListJobEventsRequest(id=identifier)
    listing = await collect(session.client.jobs.ListJobEvents, request, limit)
    session.output.table(listing, EVENT_COLUMNS, map(event_row, listing.events))


async def _print_one(session: Session, identifier: str) -> None:
    async with aclosing(session.client.watch_job(identifier)) as updates:
        async for update in updates:
            session.output.message_line(update)


async def _print_all(session: Session, filter_text: str) -> None:
    async with aclosing(session.client.watch_jobs(filter_text, send_initial=True)) as updates:
        async for update in updates:
            session.output.message_line(update)


async def _show_all(session: Session, filter_text: str) -> None:
    known: dict[str, job_pb2.Job] = {}
    with session.output.jobs_view() as view:
        async with aclosing(session.client.watch_jobs(filter_text, send_initial=True)) as updates:
            async for update in updates:
                job = _job_after(update, known)
                if job is not None:
                    known[job.id] = job
                    view.show(job_label(job), job)


def _job_after(update: jobs_service_pb2.WatchJobsResponse, known: dict[str, job_pb2.Job]) -> job_pb2.Job | None:
    if update.HasField("snapshot"):
        return update.snapshot
    if not update.HasField("event"):
        return None
    event = update.event
    return after(known[event.job_id], event) if event.job_id in known else first_seen(event)


def _settings(changes: tuple[str, ...]) -> Struct:
    """Settings from `name=value` pairs; a value that reads as JSON is taken as such, any other as text.

    Raises:
        click.UsageError: a pair has no name or no value.
    """
    settings: dict[str, object] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not (name and equals):
            raise click.UsageError(f"--set {change!r} is not NAME=VALUE. Write it like --set batch_size=8.")
        try:
            settings[name] = json.loads(text)
        except ValueError:
            settings[name] = text
    return ParseDict(settings, Struct())

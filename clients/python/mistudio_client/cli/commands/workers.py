"""`mistudio workers`: the processes that do the work."""

from __future__ import annotations

import click

from mistudio.jobs.v1 import jobs_service_pb2
from mistudio_client.cli.rendering.resources import WORKER_COLUMNS, worker_row
from mistudio_client.cli.session import Session, online


@click.command()
@click.option("--pool", default="", help="Only those of this pool, such as gpu.")
@online
async def workers(session: Session, pool: str) -> None:
    """Show the workers of every service that are there, and what they run."""
    listing = await session.client.jobs.ListWorkers(jobs_service_pb2.ListWorkersRequest(pool=pool))
    session.output.table(listing, WORKER_COLUMNS, map(worker_row, listing.workers))

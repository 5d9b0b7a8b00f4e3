"""`mistudio exports`: views of tokenizations as datasets of sequences of one length."""

from __future__ import annotations

from uuid import uuid4

import click

from mistudio.datasets.v1 import exports_service_pb2, view_pb2
from mistudio_client.cli.options import detach_option, list_options
from mistudio_client.cli.paging import collect
from mistudio_client.cli.rendering.exports import EXPORT_COLUMNS, EXPORT_NUMERIC, export_facts, export_row
from mistudio_client.cli.rendering.sequences import view_words
from mistudio_client.cli.session import Session, online
from mistudio_client.cli.view_options import view_options


@click.group()
def exports() -> None:
    """Write tokenizations as datasets of sequences of one length, look at them, let them go."""


@exports.command()
@click.argument("tokenization")
@view_options(required=True)
@click.option("--seed", type=click.IntRange(min=0), help="Shuffle the sequences with this seed; by default in order.")
@detach_option
@online
async def create(session: Session, tokenization: str, view: view_pb2.View, seed: int | None, detach: bool) -> None:
    """Write a view of TOKENIZATION (an id) as a dataset."""
    request = exports_service_pb2.CreateExportRequest(
        tokenization_id=tokenization, view=view, shuffle_seed=seed, request_id=str(uuid4())
    )
    answer = await session.client.exports.CreateExport(request)
    await session.follow_started(view_words(view), answer, detach=detach)
    await _show(session, answer.export.id)


@exports.command("list")
@list_options
@online
async def list_exports(session: Session, filter_text: str, order_by: str, limit: int) -> None:
    """List exports, newest first."""
    request = exports_service_pb2.ListExportsRequest(filter=filter_text, order_by=order_by)
    listing = await collect(session.client.exports.ListExports, request, limit)
    session.output.table(listing, EXPORT_COLUMNS, map(export_row, listing.exports), EXPORT_NUMERIC)


@exports.command()
@click.argument("identifier", metavar="ID")
@online
async def get(session: Session, identifier: str) -> None:
    """Show the export ID."""
    await _show(session, identifier)


@exports.command()
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
@online
async def delete(session: Session, identifiers: tuple[str, ...]) -> None:
    """Delete each export ID. Its files go in the background."""
    for identifier in identifiers:
        answer = await session.client.exports.DeleteExport(exports_service_pb2.DeleteExportRequest(id=identifier))
        session.output.done(answer, f"Deleted export {identifier}.")


@exports.command()
@click.argument("identifier", metavar="ID")
@online
async def cancel(session: Session, identifier: str) -> None:
    """Stop the export ID."""
    answer = await session.client.exports.CancelExport(exports_service_pb2.CancelExportRequest(id=identifier))
    session.output.done(answer, f"Cancelled export {identifier}.")


async def _show(session: Session, identifier: str) -> None:
    export = (await session.client.exports.GetExport(exports_service_pb2.GetExportRequest(id=identifier))).export
    session.output.facts(export, export_facts(export))

"""`mistudio tokenize` and `mistudio tokenizations`: any dataset for any model."""

from __future__ import annotations

from uuid import uuid4

import click

from mistudio.datasets.v1 import tokenization_pb2, tokenizations_service_pb2
from mistudio_client.cli.options import detach_option, limit_option, list_options, offset_option
from mistudio_client.cli.paging import collect
from mistudio_client.cli.references import dataset_id, model_id
from mistudio_client.cli.rendering.resources import (
    TOKENIZATION_COLUMNS,
    TOKENIZATION_NUMERIC,
    tokenization_facts,
    tokenization_row,
)
from mistudio_client.cli.rendering.tokens import show_sequence, show_statistics
from mistudio_client.cli.session import Session, online

_DEFAULT_MAX_TOKENS = 100


@click.command()
@click.argument("dataset")
@click.argument("model")
@click.option("--split", default="", help="By default the only one, or train.")
@click.option("--text-column", default="", help="Column with the text; by default found out.")
@detach_option
@online
async def tokenize(session: Session, dataset: str, model: str, split: str, text_column: str, detach: bool) -> None:
    """Tokenize DATASET for MODEL (ids, repositories or names)."""
    request = tokenizations_service_pb2.CreateTokenizationRequest(
        dataset_id=await dataset_id(session.client, dataset),
        model_id=await model_id(session.client, model),
        settings=tokenization_pb2.TokenizationSettings(split=split, text_column=text_column),
        request_id=str(uuid4()),
    )
    answer = await session.client.tokenizations.CreateTokenization(request)
    await session.follow_started(f"{dataset} for {model}", answer, detach=detach)
    await _show(session, answer.tokenization.id)


@click.group()
def tokenizations() -> None:
    """Look at tokenizations, let them go."""


@tokenizations.command("list")
@list_options
@online
async def list_tokenizations(session: Session, filter_text: str, order_by: str, limit: int) -> None:
    """List tokenizations, newest first."""
    request = tokenizations_service_pb2.ListTokenizationsRequest(filter=filter_text, order_by=order_by)
    listing = await collect(session.client.tokenizations.ListTokenizations, request, limit)
    rows = map(tokenization_row, listing.tokenizations)
    session.output.table(listing, TOKENIZATION_COLUMNS, rows, TOKENIZATION_NUMERIC)


@tokenizations.command()
@click.argument("identifier", metavar="ID")
@online
async def get(session: Session, identifier: str) -> None:
    """Show the tokenization ID."""
    await _show(session, identifier)


@tokenizations.command()
@click.argument("identifier", metavar="ID")
@online
async def stats(session: Session, identifier: str) -> None:
    """Show the figures of the tokenization ID, exact over all its documents."""
    request = tokenizations_service_pb2.GetTokenizationStatisticsRequest(id=identifier)
    statistics = (await session.client.tokenizations.GetTokenizationStatistics(request)).statistics
    if session.output.as_json:
        session.output.message(statistics)
    else:
        show_statistics(session.output.console, statistics)


@tokenizations.command()
@click.argument("identifier", metavar="ID")
@offset_option
@limit_option
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 100_000),
    default=_DEFAULT_MAX_TOKENS,
    show_default=True,
    help="Most tokens of a document.",
)
@online
async def samples(session: Session, identifier: str, offset: int, limit: int, max_tokens: int) -> None:
    """Show documents of the tokenization ID with their tokens."""
    request = tokenizations_service_pb2.ListSequencesRequest(
        tokenization_id=identifier, offset=offset, max_tokens=max_tokens
    )
    listing = await collect(session.client.tokenizations.ListSequences, request, limit)
    if session.output.as_json:
        session.output.message(listing)
        return
    for sequence in listing.sequences:
        show_sequence(session.output.console, sequence)


@tokenizations.command()
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
@online
async def delete(session: Session, identifiers: tuple[str, ...]) -> None:
    """Delete each tokenization ID. Its files go in the background."""
    for identifier in identifiers:
        request = tokenizations_service_pb2.DeleteTokenizationRequest(id=identifier)
        answer = await session.client.tokenizations.DeleteTokenization(request)
        session.output.done(answer, f"Deleted tokenization {identifier}.")


@tokenizations.command()
@click.argument("identifier", metavar="ID")
@online
async def cancel(session: Session, identifier: str) -> None:
    """Stop the tokenization ID."""
    request = tokenizations_service_pb2.CancelTokenizationRequest(id=identifier)
    answer = await session.client.tokenizations.CancelTokenization(request)
    session.output.done(answer, f"Cancelled tokenization {identifier}.")


async def _show(session: Session, identifier: str) -> None:
    request = tokenizations_service_pb2.GetTokenizationRequest(id=identifier)
    tokenization = (await session.client.tokenizations.GetTokenization(request)).tokenization
    session.output.facts(tokenization, tokenization_facts(tokenization))

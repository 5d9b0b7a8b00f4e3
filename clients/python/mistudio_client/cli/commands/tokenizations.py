"""`mistudio tokenizations`: look at tokenizations, search them, let them go."""

from __future__ import annotations

import click

from mistudio.datasets.v1 import tokenizations_service_pb2, view_pb2
from mistudio_client.cli.options import limit_option, list_options, offset_option
from mistudio_client.cli.paging import collect
from mistudio_client.cli.rendering.resources import (
    TOKENIZATION_COLUMNS,
    TOKENIZATION_NUMERIC,
    tokenization_facts,
    tokenization_row,
)
from mistudio_client.cli.rendering.sequences import (
    MATCH_COLUMNS,
    MATCH_NUMERIC,
    match_row,
    matches_remark,
    sequences_remark,
    show_view_sequence,
    view_figures_facts,
)
from mistudio_client.cli.rendering.tokens import show_sequence, show_statistics
from mistudio_client.cli.session import Session, online
from mistudio_client.cli.token_ids import TokenIdsType
from mistudio_client.cli.view_options import view_options

_DEFAULT_MAX_TOKENS = 100


@click.group()
def tokenizations() -> None:
    """Look at tokenizations, search them, let them go."""


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
@view_options()
@online
async def stats(session: Session, identifier: str, view: view_pb2.View | None) -> None:
    """Show the figures of the tokenization ID, exact over all its documents, or what a view of it keeps and drops."""
    request = tokenizations_service_pb2.GetTokenizationStatisticsRequest(id=identifier, view=view)
    answer = await session.client.tokenizations.GetTokenizationStatistics(request)
    if view:
        session.output.facts(answer.view, view_figures_facts(answer.view))
    elif session.output.as_json:
        session.output.message(answer.statistics)
    else:
        show_statistics(session.output.console, answer.statistics)


@tokenizations.command()
@click.argument("identifier", metavar="ID")
@view_options()
@offset_option
@limit_option
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 100_000),
    default=_DEFAULT_MAX_TOKENS,
    show_default=True,
    help="Most tokens of a document or sequence to show.",
)
@online
async def sequences(
    session: Session, identifier: str, view: view_pb2.View | None, offset: int, limit: int, max_tokens: int
) -> None:
    """Show documents of the tokenization ID, or sequences of a view of it, with their tokens."""
    request = tokenizations_service_pb2.ListSequencesRequest(
        tokenization_id=identifier, offset=offset, max_tokens=max_tokens, view=view
    )
    listing = await collect(session.client.tokenizations.ListSequences, request, limit)
    if session.output.as_json:
        session.output.message(listing)
        return
    for sequence in listing.sequences:
        (show_view_sequence if view else show_sequence)(session.output.console, sequence)
    session.output.note(sequences_remark(listing))


@tokenizations.command()
@click.argument("identifier", metavar="ID")
@click.option("--text", default="", help="Text whose tokens follow one another.")
@click.option("--ids", type=TokenIdsType(), help="Token ids that follow one another, such as 464,3290.")
@click.option("--count", is_flag=True, help="Count every match.")
@click.option(
    "--context", type=click.IntRange(0, 100), default=10, show_default=True, help="Tokens on each side of a match."
)
@limit_option
@online
async def find(
    session: Session,
    identifier: str,
    text: str,
    ids: tokenizations_service_pb2.TokenIds | None,
    count: bool,
    context: int,
    limit: int,
) -> None:
    """Find tokens in all documents of the tokenization ID."""
    if bool(text) == (ids is not None):
        raise click.UsageError("What to find is a text or token ids. Give one of --text and --ids.")
    request = tokenizations_service_pb2.SearchTokensRequest(
        tokenization_id=identifier, ids=ids, context_tokens=context, include_total=count
    )
    if text:
        request.text = text
    listing = await collect(session.client.tokenizations.SearchTokens, request, limit)
    session.output.table(listing, MATCH_COLUMNS, map(match_row, listing.matches), MATCH_NUMERIC)
    if not session.output.as_json:
        session.output.note(matches_remark(listing))


@tokenizations.command()
@click.argument("identifiers", metavar="ID...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Delete its exports as well.")
@online
async def delete(session: Session, identifiers: tuple[str, ...], force: bool) -> None:
    """Delete each tokenization ID. Its files go in the background."""
    for identifier in identifiers:
        request = tokenizations_service_pb2.DeleteTokenizationRequest(id=identifier, force=force)
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

"""`mistudio tokenize` and `mistudio preview`: any dataset for any model."""

from __future__ import annotations

from uuid import uuid4

import click

from mistudio.datasets.v1 import tokenization_pb2, tokenizations_service_pb2
from mistudio_client.cli.options import detach_option, offset_option
from mistudio_client.cli.references import dataset_id, model_id
from mistudio_client.cli.rendering.previews import show_preview
from mistudio_client.cli.rendering.resources import tokenization_facts
from mistudio_client.cli.session import Session, online
from mistudio_client.cli.settings_options import settings_options

_DEFAULT_MAX_TOKENS = 200


@click.command()
@click.argument("dataset")
@click.argument("model")
@settings_options
@detach_option
@online
async def tokenize(
    session: Session, dataset: str, model: str, settings: tokenization_pb2.TokenizationSettings, detach: bool
) -> None:
    """Tokenize DATASET for MODEL (ids, repositories or names)."""
    request = tokenizations_service_pb2.CreateTokenizationRequest(
        dataset_id=await dataset_id(session.client, dataset),
        model_id=await model_id(session.client, model),
        settings=settings,
        request_id=str(uuid4()),
    )
    answer = await session.client.tokenizations.CreateTokenization(request)
    await session.follow_started(f"{dataset} for {model}", answer, detach=detach)
    get = tokenizations_service_pb2.GetTokenizationRequest(id=answer.tokenization.id)
    made = (await session.client.tokenizations.GetTokenization(get)).tokenization
    session.output.facts(made, tokenization_facts(made))


@click.command()
@click.argument("dataset")
@click.argument("model")
@settings_options
@offset_option
@click.option("--limit", type=click.IntRange(1, 50), default=5, show_default=True, help="Most rows to show.")
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 100_000),
    default=_DEFAULT_MAX_TOKENS,
    show_default=True,
    help="Most tokens of a row.",
)
@online
async def preview(
    session: Session,
    dataset: str,
    model: str,
    settings: tokenization_pb2.TokenizationSettings,
    offset: int,
    limit: int,
    max_tokens: int,
) -> None:
    """Show a few rows of DATASET as they would be tokenized for MODEL (ids, repositories or names)."""
    request = tokenizations_service_pb2.PreviewTokenizationRequest(
        dataset_id=await dataset_id(session.client, dataset),
        model_id=await model_id(session.client, model),
        settings=settings,
        offset=offset,
        page_size=limit,
        max_tokens=max_tokens,
    )
    answer = await session.client.tokenizations.PreviewTokenization(request)
    if session.output.as_json:
        session.output.message(answer)
    else:
        show_preview(session.output.console, answer)

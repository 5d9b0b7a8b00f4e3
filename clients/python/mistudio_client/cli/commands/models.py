"""`mistudio models`: inspect models on the Hub, bring them in, let them go."""

from __future__ import annotations

from uuid import uuid4

import click

from mistudio.models.v2 import models_service_pb2
from mistudio_client.cli.options import (
    detach_option,
    hub_token_option,
    list_options,
    name_option,
    revision_option,
    search_option,
)
from mistudio_client.cli.paging import collect
from mistudio_client.cli.references import model_id
from mistudio_client.cli.rendering.resources import (
    MODEL_COLUMNS,
    MODEL_NUMERIC,
    inspection_facts,
    model_facts,
    model_row,
)
from mistudio_client.cli.session import Session, online


@click.group()
def models() -> None:
    """Inspect models on the Hub, bring them in, let them go."""


@models.command()
@click.argument("repo")
@revision_option
@hub_token_option
@online
async def inspect(session: Session, repo: str, revision: str, hub_token: str) -> None:
    """Show what the Hub says about the model REPO (owner/name); nothing is downloaded."""
    request = models_service_pb2.InspectModelRequest(repo_id=repo, revision=revision, hub_token=hub_token)
    inspection = (await session.client.models.InspectModel(request)).inspection
    session.output.facts(inspection, inspection_facts(inspection))


@models.command()
@click.argument("repo")
@revision_option
@name_option
@hub_token_option
@detach_option
@online
async def download(session: Session, repo: str, revision: str, name: str, hub_token: str, detach: bool) -> None:
    """Bring the model REPO (owner/name) in from the Hub."""
    request = models_service_pb2.DownloadModelRequest(
        repo_id=repo,
        revision=revision,
        name=name,
        hub_token=hub_token,
        request_id=str(uuid4()),
    )
    answer = await session.client.models.DownloadModel(request)
    await session.follow_started(repo, answer, detach=detach)
    await _show(session, answer.model.id)


@models.command("list")
@search_option
@list_options
@online
async def list_models(session: Session, search: str, filter_text: str, order_by: str, limit: int) -> None:
    """List models, newest first."""
    request = models_service_pb2.ListModelsRequest(search=search, filter=filter_text, order_by=order_by)
    listing = await collect(session.client.models.ListModels, request, limit)
    session.output.table(listing, MODEL_COLUMNS, map(model_row, listing.models), MODEL_NUMERIC)


@models.command()
@click.argument("model")
@online
async def get(session: Session, model: str) -> None:
    """Show MODEL (id, repository or name)."""
    await _show(session, await model_id(session.client, model))


@models.command()
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Stop the tokenizations that are being made with it first.")
@online
async def delete(session: Session, names: tuple[str, ...], force: bool) -> None:
    """Delete each MODEL (id, repository or name). Its files go in the background."""
    for name in names:
        identifier = await model_id(session.client, name)
        request = models_service_pb2.DeleteModelRequest(id=identifier, force=force)
        session.output.done(await session.client.models.DeleteModel(request), f"Deleted model {identifier}.")


@models.command()
@click.argument("model")
@online
async def cancel(session: Session, model: str) -> None:
    """Stop the download of MODEL (id, repository or name)."""
    identifier = await model_id(session.client, model)
    request = models_service_pb2.CancelModelDownloadRequest(id=identifier)
    session.output.done(await session.client.models.CancelModelDownload(request), f"Cancelled model {identifier}.")


async def _show(session: Session, identifier: str) -> None:
    model = (await session.client.models.GetModel(models_service_pb2.GetModelRequest(id=identifier))).model
    session.output.facts(model, model_facts(model))

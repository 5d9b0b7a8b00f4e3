"""`mistudio models`: inspect models on the Hub, bring them in, change them, let them go."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

import click
from google.protobuf.field_mask_pb2 import FieldMask

from mistudio.models.v2 import model_pb2, models_service_pb2, weights_pb2
from mistudio_client.cli.deletions import tell_deletions
from mistudio_client.cli.load_options import load_options
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
from mistudio_client.cli.rendering.models import (
    MODEL_COLUMNS,
    MODEL_NUMERIC,
    inspection_facts,
    model_facts,
    model_row,
)
from mistudio_client.cli.session import Session, online

_OPTIONS = {"name": "name", "default_settings": "default format"}
"""Fields of a download by what people call them."""


@click.group()
def models() -> None:
    """Inspect models on the Hub, bring them in, load them, let them go."""


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
@click.option("--allow", multiple=True, metavar="GLOB", help="Only files like this, may be repeated; * is any text.")
@click.option("--deny", multiple=True, metavar="GLOB", help="No files like this, may be repeated.")
@click.option("--allow-pickle", is_flag=True, help="Take weights that are there as pickles only, if the operator does.")
@load_options
@hub_token_option
@detach_option
@online
async def download(
    session: Session,
    repo: str,
    revision: str,
    name: str,
    allow: tuple[str, ...],
    deny: tuple[str, ...],
    allow_pickle: bool,
    settings: weights_pb2.LoadSettings | None,
    hub_token: str,
    detach: bool,
) -> None:
    """Bring the model REPO (owner/name) in from the Hub; the format is that in which it is loaded by default."""
    request = models_service_pb2.DownloadModelRequest(
        repo_id=repo,
        revision=revision,
        name=name,
        allow_patterns=allow,
        deny_patterns=deny,
        allow_pickle=allow_pickle,
        default_settings=settings,
        hub_token=hub_token,
        request_id=str(uuid4()),
    )
    answer = await session.client.models.DownloadModel(request)
    await session.follow_started(repo, answer, detach=detach)
    if answer.not_applied:
        session.output.note(_kept(answer))
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
@click.argument("model")
@click.option("--name", help="Name for people.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="May be repeated; an empty value removes.")
@load_options
@online
async def update(
    session: Session,
    model: str,
    name: str | None,
    labels: tuple[str, ...],
    settings: weights_pb2.LoadSettings | None,
) -> None:
    """Rename or label MODEL (id, repository or name), or choose how it is loaded by default."""
    changed = await _get(session, await model_id(session.client, model))
    mask = FieldMask()
    if name is not None:
        changed.name = name
        mask.paths.append("name")
    if labels:
        _label(changed, labels)
        mask.paths.append("labels")
    if settings is not None:
        changed.default_settings.CopyFrom(settings)
        mask.paths.append("default_settings")
    if not mask.paths:
        raise click.UsageError("There is nothing to change. Give --name, --label or --format.")
    request = models_service_pb2.UpdateModelRequest(model=changed, update_mask=mask)
    updated = (await session.client.models.UpdateModel(request)).model
    session.output.facts(updated, model_facts(updated))


@models.command()
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Unload it, and stop the tokenizations that are being made with it first.")
@online
async def delete(session: Session, names: tuple[str, ...], force: bool) -> None:
    """Delete each MODEL (id, repository or name). Its files go in the background."""
    identifiers = [await model_id(session.client, name) for name in names]
    if len(identifiers) > 1:
        batch = models_service_pb2.BatchDeleteModelsRequest(ids=identifiers, force=force)
        tell_deletions(session, await session.client.models.BatchDeleteModels(batch), "model")
        return
    request = models_service_pb2.DeleteModelRequest(id=identifiers[0], force=force)
    session.output.done(await session.client.models.DeleteModel(request), f"Deleted model {identifiers[0]}.")


@models.command()
@click.argument("model")
@online
async def cancel(session: Session, model: str) -> None:
    """Stop the download of MODEL (id, repository or name)."""
    identifier = await model_id(session.client, model)
    request = models_service_pb2.CancelModelDownloadRequest(id=identifier)
    session.output.done(await session.client.models.CancelModelDownload(request), f"Cancelled model {identifier}.")


def _kept(answer: models_service_pb2.DownloadModelResponse) -> str:
    """What a download that joined a model has left as it was."""
    options = " and ".join(_OPTIONS.get(field, field) for field in answer.not_applied)
    update = f"mistudio models update {answer.model.id}"
    return f"The model was there before and keeps its own {options}. Change that with `{update}`."


def _label(model: model_pb2.Model, changes: Sequence[str]) -> None:
    """Set labels from `key=value` pairs; an empty value removes the label.

    Raises:
        click.UsageError: a pair has no key or no sign.
    """
    for change in changes:
        key, sign, value = change.partition("=")
        if not (key and sign):
            raise click.UsageError(f"--label {change!r} is not KEY=VALUE. Write it like --label team=vision.")
        if value:
            model.labels[key] = value
        else:
            model.labels.pop(key, None)


async def _get(session: Session, identifier: str) -> model_pb2.Model:
    return (await session.client.models.GetModel(models_service_pb2.GetModelRequest(id=identifier))).model


async def _show(session: Session, identifier: str) -> None:
    model = await _get(session, identifier)
    session.output.facts(model, model_facts(model))

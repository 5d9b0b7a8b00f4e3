"""`mistudio models estimate`, `architecture`, `load`, `unload` and `ps`: models in memory."""

from __future__ import annotations

from uuid import uuid4

import click

from mistudio.models.v2 import loading_pb2, models_service_pb2, weights_pb2
from mistudio_client.cli.choices import DEVICE_PREFERENCES, WEIGHT_FORMATS
from mistudio_client.cli.load_options import (
    compute_dtype_option,
    double_quantization_option,
    load_options,
    load_settings,
)
from mistudio_client.cli.options import detach_option, hub_token_option, revision_option
from mistudio_client.cli.references import model_id, model_id_here
from mistudio_client.cli.rendering.architecture import (
    HOOK_COLUMNS,
    HOOK_NUMERIC,
    LAYER_COLUMNS,
    LAYER_NUMERIC,
    architecture_facts,
    hook_rows,
    layer_row,
)
from mistudio_client.cli.rendering.formats import byte_size
from mistudio_client.cli.rendering.loaded import place_text, show_evictions, show_loaded, show_models
from mistudio_client.cli.rendering.memory import show_estimates
from mistudio_client.cli.rendering.resources import job_facts
from mistudio_client.cli.rendering.tables import show_facts, show_table
from mistudio_client.cli.session import Session, online

_FOUR_BITS = ("fp4", "nf4")


@click.command()
@click.argument("model", metavar="MODEL|REPO")
@click.option(
    "--format", "forms", type=click.Choice(list(WEIGHT_FORMATS)), multiple=True, help="May be repeated; by default all."
)
@double_quantization_option
@compute_dtype_option
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Sequences that run at once.")
@click.option("--sequence", type=click.IntRange(min=1), help="Tokens of a sequence; by default 2,048 at most.")
@revision_option
@hub_token_option
@online
async def estimate(
    session: Session,
    model: str,
    forms: tuple[str, ...],
    double_quantization: bool,
    compute_dtype: str | None,
    batch: int,
    sequence: int | None,
    revision: str,
    hub_token: str,
) -> None:
    """Show how much memory MODEL (id, repository or name) needs, and whether it fits.

    One that is not here, or with --revision, is looked up on the Hub (owner/name); no weights are downloaded.
    """
    request = models_service_pb2.EstimateMemoryRequest(
        hub_token=hub_token,
        settings=_wanted(forms, double_quantization, compute_dtype),
        batch_size=batch,
        sequence_length=sequence or 0,
    )
    identifier = None if revision else await model_id_here(session.client, model)
    if identifier:
        request.model_id = identifier
    else:
        request.repo_id, request.revision = model, revision
    answer = await session.client.models.EstimateMemory(request)
    if session.output.as_json:
        session.output.message(answer)
    else:
        show_estimates(session.output.console, answer)


@click.command()
@click.argument("model")
@click.option("--hooks", is_flag=True, help="Tell the module and width of every hook point.")
@online
async def architecture(session: Session, model: str, hooks: bool) -> None:
    """Show the layers of MODEL (id, repository or name) and the places where activations are read."""
    request = models_service_pb2.GetModelArchitectureRequest(id=await model_id(session.client, model))
    found = (await session.client.models.GetModelArchitecture(request)).architecture
    if session.output.as_json:
        session.output.message(found)
        return
    console = session.output.console
    show_facts(console, architecture_facts(found))
    console.print()
    if hooks:
        show_table(console, HOOK_COLUMNS, hook_rows(found), HOOK_NUMERIC)
    else:
        show_table(console, LAYER_COLUMNS, map(layer_row, found.layers), LAYER_NUMERIC)


@click.command()
@click.argument("model")
@load_options
@click.option("--device", type=click.Choice(list(DEVICE_PREFERENCES)), help="By default a GPU where there is one.")
@click.option("--pin", is_flag=True, help="Keep it until it is unloaded by a call, whatever else is loaded.")
@click.option("--trust-remote-code", is_flag=True, help="Run code from its repository, if the operator allows it.")
@detach_option
@online
async def load(
    session: Session,
    model: str,
    settings: weights_pb2.LoadSettings | None,
    device: str | None,
    pin: bool,
    trust_remote_code: bool,
    detach: bool,
) -> None:
    """Load MODEL (id, repository or name) into a worker's memory; by default as it was chosen for this model.

    Models that had to go for it are named.
    """
    request = models_service_pb2.LoadModelRequest(
        id=await model_id(session.client, model),
        settings=settings,
        device=DEVICE_PREFERENCES[device] if device else loading_pb2.DEVICE_PREFERENCE_UNSPECIFIED,
        pin=pin,
        trust_remote_code=trust_remote_code,
        request_id=str(uuid4()),
    )
    answer = await session.client.models.LoadModel(request)
    await session.follow_started(model, answer, detach=detach)
    if detach:
        session.output.facts(answer.job, job_facts(answer.job))
        return
    listing = await _loaded(session, request.id)
    if session.output.as_json:
        session.output.message(listing)
    else:
        show_models(session.output.console, listing.models)
        made_room = [each for each in listing.evictions if each.job_id == answer.job.id]
        show_evictions(session.output.console, made_room)


@click.command()
@click.argument("model")
@click.option("--worker", default="", help="Only from this one; by default from every one.")
@load_options
@online
async def unload(session: Session, model: str, worker: str, settings: weights_pb2.LoadSettings | None) -> None:
    """Take MODEL (id, repository or name) out of workers' memory; with a format only where it is held so."""
    request = models_service_pb2.UnloadModelRequest(
        id=await model_id(session.client, model), worker=worker, settings=settings
    )
    answer = await session.client.models.UnloadModel(request)
    places = ", ".join(map(place_text, answer.unloaded))
    session.output.done(answer, f"Unloaded {model}: {places}. {byte_size(answer.freed_bytes)} are free again.")


@click.command()
@online
async def ps(session: Session) -> None:
    """Show which models are loaded where, which lately made room, and the workers that can hold models."""
    listing = await _loaded(session)
    if session.output.as_json:
        session.output.message(listing)
    else:
        show_loaded(session.output.console, listing)


async def _loaded(session: Session, identifier: str = "") -> models_service_pb2.ListLoadedModelsResponse:
    request = models_service_pb2.ListLoadedModelsRequest(model_id=identifier)
    return await session.client.models.ListLoadedModels(request)


def _wanted(
    forms: tuple[str, ...], double_quantization: bool, compute_dtype: str | None
) -> list[weights_pb2.LoadSettings]:
    """The settings to estimate, one for each format; none asks for every one.

    Raises:
        click.UsageError: options have no format that they go with.
    """
    if double_quantization and not any(form in _FOUR_BITS for form in forms):
        raise click.UsageError("--double-quantization goes with --format fp4 or nf4. Give one of them.")
    if compute_dtype and not forms:
        raise click.UsageError("--compute-dtype goes with --format. Give a format.")
    return [load_settings(form, double_quantization and form in _FOUR_BITS, compute_dtype) for form in forms]

"""`mistudio datasets`: bring datasets in, look at them, let them go."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import click

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2
from mistudio_client.cli.deletions import tell_deletions
from mistudio_client.cli.options import (
    detach_option,
    hub_token_option,
    list_options,
    name_option,
    revision_option,
    search_option,
)
from mistudio_client.cli.paging import collect
from mistudio_client.cli.references import dataset_id
from mistudio_client.cli.rendering.inspections import dataset_inspection_facts
from mistudio_client.cli.rendering.resources import (
    DATASET_COLUMNS,
    DATASET_NUMERIC,
    dataset_facts,
    dataset_row,
)
from mistudio_client.cli.session import Session, online

_FORMATS = {
    "jsonl": dataset_pb2.UPLOAD_FORMAT_JSONL,
    "csv": dataset_pb2.UPLOAD_FORMAT_CSV,
    "parquet": dataset_pb2.UPLOAD_FORMAT_PARQUET,
    "text": dataset_pb2.UPLOAD_FORMAT_TEXT,
}


@click.group()
def datasets() -> None:
    """Bring datasets in, look at them, let them go."""


@datasets.command()
@click.argument("repo")
@revision_option
@hub_token_option
@online
async def inspect(session: Session, repo: str, revision: str, hub_token: str) -> None:
    """Show what the Hub says about the dataset REPO (owner/name); nothing is downloaded."""
    request = datasets_service_pb2.InspectDatasetRequest(repo_id=repo, revision=revision, hub_token=hub_token)
    found = (await session.client.datasets.InspectDataset(request)).inspection
    session.output.facts(found, dataset_inspection_facts(found))


@datasets.command()
@click.argument("repo")
@revision_option
@click.option("--config", default="", help="Configuration of the dataset; by default its default one.")
@click.option("--split", "splits", multiple=True, help="Split to bring, may be repeated; by default all.")
@name_option
@hub_token_option
@detach_option
@online
async def download(
    session: Session,
    repo: str,
    revision: str,
    config: str,
    splits: tuple[str, ...],
    name: str,
    hub_token: str,
    detach: bool,
) -> None:
    """Bring the dataset REPO (owner/name) in from the Hub."""
    request = datasets_service_pb2.DownloadDatasetRequest(
        repo_id=repo,
        revision=revision,
        config=config,
        splits=splits,
        name=name,
        hub_token=hub_token,
        request_id=str(uuid4()),
    )
    answer = await session.client.datasets.DownloadDataset(request)
    await session.follow_started(repo, answer, detach=detach)
    await _show(session, answer.dataset.id)


@datasets.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="", help="Name for people; by default the file's.")
@click.option("--format", "form", type=click.Choice(list(_FORMATS)), help="By default found out.")
@click.option(
    "--request-id", default="", help="Names this upload: run again with it, the command goes on where it was."
)
@detach_option
@online
async def upload(session: Session, file: Path, name: str, form: str | None, request_id: str, detach: bool) -> None:
    """Bring a local FILE in: JSONL, CSV, Parquet or plain text.

    Cut, the upload goes on by itself where it was; with --request-id so does one of a command that has ended.
    """
    kind = _FORMATS[form] if form else dataset_pb2.UPLOAD_FORMAT_UNSPECIFIED
    with session.output.jobs_view() as view:
        answer = await session.client.upload(
            file,
            name=name,
            upload_format=kind,
            request_id=request_id,
            on_progress=lambda sent, total: view.show_upload(file.name, sent, total),
        )
    if not detach:
        await session.follow_alone(file.name, answer.job)
    await _show(session, answer.dataset.id)


@datasets.command("list")
@search_option
@list_options
@online
async def list_datasets(session: Session, search: str, filter_text: str, order_by: str, limit: int) -> None:
    """List datasets, newest first."""
    request = datasets_service_pb2.ListDatasetsRequest(search=search, filter=filter_text, order_by=order_by)
    listing = await collect(session.client.datasets.ListDatasets, request, limit)
    session.output.table(listing, DATASET_COLUMNS, map(dataset_row, listing.datasets), DATASET_NUMERIC)


@datasets.command()
@click.argument("dataset")
@online
async def get(session: Session, dataset: str) -> None:
    """Show DATASET (id, repository or name)."""
    await _show(session, await dataset_id(session.client, dataset))


@datasets.command()
@click.argument("dataset")
@click.option("-o", "--output", "target", type=click.File("wb"), default="-", help="File to write; by default stdout.")
@online
async def damaged(session: Session, dataset: str, target: BinaryIO) -> None:
    """Write the records of DATASET (id, repository or name) that could not be read, as JSON Lines."""
    identifier = await dataset_id(session.client, dataset)
    async for chunk in session.client.damaged_lines(identifier):
        target.write(chunk)


@datasets.command()
@click.argument("names", metavar="DATASET...", nargs=-1, required=True)
@click.option("--force", is_flag=True, help="Delete the tokenizations that need it as well.")
@online
async def delete(session: Session, names: tuple[str, ...], force: bool) -> None:
    """Delete each DATASET (id, repository or name). Its files go in the background."""
    identifiers = [await dataset_id(session.client, name) for name in names]
    if len(identifiers) > 1:
        batch = datasets_service_pb2.BatchDeleteDatasetsRequest(ids=identifiers, force=force)
        tell_deletions(session, await session.client.datasets.BatchDeleteDatasets(batch), "dataset")
        return
    request = datasets_service_pb2.DeleteDatasetRequest(id=identifiers[0], force=force)
    session.output.done(await session.client.datasets.DeleteDataset(request), f"Deleted dataset {identifiers[0]}.")


@datasets.command()
@click.argument("dataset")
@online
async def cancel(session: Session, dataset: str) -> None:
    """Stop bringing DATASET (id, repository or name) in."""
    identifier = await dataset_id(session.client, dataset)
    request = datasets_service_pb2.CancelDatasetRequest(id=identifier)
    session.output.done(await session.client.datasets.CancelDataset(request), f"Cancelled dataset {identifier}.")


async def _get(session: Session, identifier: str) -> dataset_pb2.Dataset:
    request = datasets_service_pb2.GetDatasetRequest(id=identifier)
    return (await session.client.datasets.GetDataset(request)).dataset


async def _show(session: Session, identifier: str) -> None:
    dataset = await _get(session, identifier)
    session.output.facts(dataset, dataset_facts(dataset))

"""`mistudio datasets columns` and `index`: what is made of complete datasets in the background."""

from __future__ import annotations

import click

from mistudio.datasets.v1 import datasets_service_pb2
from mistudio_client.cli.options import detach_option, split_option
from mistudio_client.cli.references import dataset_id
from mistudio_client.cli.rendering.columns import COLUMN_COLUMNS, COLUMN_NUMERIC, column_row, show_column
from mistudio_client.cli.rendering.resources import dataset_facts
from mistudio_client.cli.session import Session, online
from mistudio_client.errors import MistudioCallError


@click.command()
@click.argument("dataset")
@split_option
@click.option("--column", "columns", multiple=True, help="Tell everything about this column; may be repeated.")
@online
async def columns(session: Session, dataset: str, split: str, columns: tuple[str, ...]) -> None:
    """Show the statistics of the columns of DATASET (id, repository or name), exact over all its rows.

    The first time they are made, which is shown live.
    """
    identifier = await dataset_id(session.client, dataset)
    request = datasets_service_pb2.GetColumnStatisticsRequest(dataset_id=identifier, split=split, columns=columns)
    try:
        found = await session.client.datasets.GetColumnStatistics(request)
    except MistudioCallError as error:
        if error.reason != "COLUMN_STATISTICS_NOT_READY":
            raise
        await _make_statistics(session, dataset, identifier)
        found = await session.client.datasets.GetColumnStatistics(request)
    if columns and not session.output.as_json:
        for column in found.columns:
            show_column(session.output.console, column)
    else:
        session.output.table(found, COLUMN_COLUMNS, map(column_row, found.columns), COLUMN_NUMERIC)


@click.command()
@click.argument("dataset")
@detach_option
@online
async def index(session: Session, dataset: str, detach: bool) -> None:
    """Build the index that ranks searches for words in DATASET (id, repository or name)."""
    identifier = await dataset_id(session.client, dataset)
    request = datasets_service_pb2.CreateWordIndexRequest(dataset_id=identifier)
    answer = await session.client.datasets.CreateWordIndex(request)
    await session.follow_started(f"word index of {dataset}", answer, detach=detach)
    get = datasets_service_pb2.GetDatasetRequest(id=identifier)
    found = (await session.client.datasets.GetDataset(get)).dataset
    session.output.facts(found, dataset_facts(found))


async def _make_statistics(session: Session, name: str, identifier: str) -> None:
    request = datasets_service_pb2.CreateColumnStatisticsRequest(dataset_id=identifier)
    answer = await session.client.datasets.CreateColumnStatistics(request)
    await session.follow_started(f"column statistics of {name}", answer, detach=False)

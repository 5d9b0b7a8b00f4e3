"""`mistudio datasets samples` and `cell`: rows of datasets, found, ranked, and whole."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import BinaryIO

import click

from mistudio.datasets.v1 import datasets_service_pb2, sample_pb2
from mistudio_client.cli.failures import CommandFailed
from mistudio_client.cli.options import limit_option, offset_option, split_option
from mistudio_client.cli.output import as_dict
from mistudio_client.cli.paging import collect
from mistudio_client.cli.query_options import query_options
from mistudio_client.cli.references import dataset_id
from mistudio_client.cli.rendering.formats import byte_size, visible_lines
from mistudio_client.cli.rendering.samples import samples_remarks, samples_table
from mistudio_client.cli.session import Session, online

_READABLE = ("text/plain", "application/json")


@click.command()
@click.argument("dataset")
@split_option
@offset_option
@limit_option
@query_options
@click.option("--count", is_flag=True, help="Count every row that matches.")
@online
async def samples(
    session: Session, dataset: str, split: str, offset: int, limit: int, query: sample_pb2.SampleQuery, count: bool
) -> None:
    """Show rows of DATASET (id, repository or name), all or those that match."""
    identifier = await dataset_id(session.client, dataset)
    request = datasets_service_pb2.ListSamplesRequest(
        dataset_id=identifier, split=split, offset=offset, include_total=count
    )
    if query.ByteSize():
        request.query.CopyFrom(query)
    listing = await collect(session.client.datasets.ListSamples, request, limit)
    if session.output.as_json:
        session.output.message(listing)
        return
    get = datasets_service_pb2.GetDatasetRequest(id=identifier)
    columns = [column.name for column in (await session.client.datasets.GetDataset(get)).dataset.columns]
    headers, rows, numeric = samples_table(listing, columns)
    session.output.table(listing, headers, rows, numeric)
    for remark in samples_remarks(listing, matching=bool(query.ByteSize())):
        session.output.note(remark)


@click.command()
@click.argument("dataset")
@click.argument("row", type=click.IntRange(min=0))
@click.argument("column", default="")
@split_option
@click.option("-o", "--output", "target", type=click.File("wb"), default="-", help="File to write; by default stdout.")
@online
async def cell(session: Session, dataset: str, row: int, column: str, split: str, target: BinaryIO) -> None:
    """Write the whole cell of ROW and COLUMN of DATASET (id, repository or name), or all of ROW as JSON.

    With --json its pieces are written, one a line.
    """
    identifier = await dataset_id(session.client, dataset)
    async with aclosing(session.client.sample_content(identifier, row, column=column, split=split)) as pieces:
        if session.output.as_json:
            async for piece in pieces:
                target.write(f"{json.dumps(as_dict(piece), ensure_ascii=False)}\n".encode())
            return
        first = await anext(pieces)
        if first.header.is_null:
            session.output.note(f"{column} of row {row} is null: there is nothing to write.")
            return
        in_terminal = target.isatty()
        write = _readable(first.header) if in_terminal else target.write
        write(first.chunk)
        async for piece in pieces:
            write(piece.chunk)
        if in_terminal:
            click.echo()


def _readable(header: sample_pb2.SampleContentHeader) -> Callable[[bytes], object]:
    """What prints the pieces of a cell so that they cannot steer a terminal.

    Raises:
        CommandFailed: the cell is nothing to read.
    """
    if header.media_type not in _READABLE:
        size = byte_size(header.size_bytes)
        raise CommandFailed(f"The cell is {header.media_type} of {size}, nothing to read. Name a file for it with -o.")
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    return lambda piece: click.echo(visible_lines(decoder.decode(piece)), nl=False)

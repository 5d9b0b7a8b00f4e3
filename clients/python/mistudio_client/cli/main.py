"""`mistudio`: the command line of miStudio."""

from __future__ import annotations

import io
import sys

import click

from mistudio_client.cli.commands.datasets import datasets
from mistudio_client.cli.commands.derived import columns, index
from mistudio_client.cli.commands.exports import exports
from mistudio_client.cli.commands.jobs import jobs
from mistudio_client.cli.commands.loading import architecture, estimate, load, ps, unload
from mistudio_client.cli.commands.models import models
from mistudio_client.cli.commands.samples import cell, samples
from mistudio_client.cli.commands.tokenizations import tokenizations
from mistudio_client.cli.commands.tokenize import preview, tokenize
from mistudio_client.cli.commands.workers import workers
from mistudio_client.version import VERSION


@click.group(epilog="Status: 0 done, 1 failed, 2 wrong usage, 130 interrupted with Ctrl-C.")
@click.version_option(VERSION, prog_name="mistudio")
def cli() -> None:
    """Bring models and datasets in, tokenize any dataset for any model, watch every job live."""


for command in (datasets, models, preview, tokenize, tokenizations, exports, jobs, workers):
    cli.add_command(command)
for command in (samples, cell, columns, index):
    datasets.add_command(command)
for command in (estimate, architecture, load, unload, ps):
    models.add_command(command)


def main() -> None:
    """Run the command line of this process."""
    # What a terminal's encoding lacks is replaced; it is no reason to end.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    cli(prog_name="mistudio")

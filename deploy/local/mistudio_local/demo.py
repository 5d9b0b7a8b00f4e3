"""`python -m mistudio_local.demo`: the product's main job from nothing, on this machine, shown live."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from mistudio.datasets.v1 import datasets_service_pb2, tokenization_pb2, tokenizations_service_pb2
from mistudio.models.v2 import models_service_pb2
from mistudio_client import Client
from mistudio_client.cli.output import Output
from mistudio_client.cli.rendering.formats import byte_size, number
from mistudio_client.cli.rendering.tokens import show_sequence, show_statistics
from mistudio_client.cli.session import EXIT_INTERRUPTED, Session, exit_status, label_of
from mistudio_local.config import StackOptions, StackPorts
from mistudio_local.demo_hub import Origin, find_origin
from mistudio_local.stack import Stack
from mistudio_servicekit.errors import MistudioError

_SAMPLES = 3
_SAMPLE_TOKENS = 60
_SAMPLE_WIDTH = 100


def main(argv: Sequence[str]) -> int:
    """Run the demo; the exit status is 0 if all of it worked, 1 if not, 130 after Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    output = Output.to_terminal(as_json=False)
    try:
        return _run(arguments, output)
    except MistudioError as error:
        output.note(error.message)
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mistudio_local.demo", description=__doc__)
    parser.add_argument("--model", default="", help="Hub repository of a model with a tokenizer (default: a small one)")
    parser.add_argument("--dataset", default="", help="Hub repository of a dataset of texts (default: a small one)")
    parser.add_argument(
        "--data-dir", type=Path, default=StackOptions().data_dir, help="folder of the kept data (default: %(default)s)"
    )
    return parser


def _run(arguments: argparse.Namespace, output: Output) -> int:
    origin = find_origin(arguments.model, arguments.dataset)
    _say(output.console, _opening(origin))
    options = _options(origin, arguments.data_dir)
    started = time.monotonic()
    _say(output.console, "Starting Postgres, NATS, the services, their workers and the gateway …")
    with Stack(options) as stack:
        processes, seconds = len(stack.processes), time.monotonic() - started
        _say(output.console, f"{processes} processes are up after {seconds:.1f} s; gateway {stack.gateway_target}")
        status = exit_status(lambda: _show_main_job(stack.gateway_targets, origin, output))
        _say(output.console, "\nStopping the stack …")
    _say(output.console, _farewell(options))
    return status


def _options(origin: Origin, data_dir: Path) -> StackOptions:
    """A stack on free ports, so that the demo runs beside one that is up already."""
    variables = {"MISTUDIO_HUB_ENDPOINT": origin.endpoint} if origin.endpoint else {}
    return StackOptions(
        data_dir=data_dir, ports=StackPorts.free(), hub_mirror=origin.endpoint is None, variables=variables
    )


def _opening(origin: Origin) -> str:
    if origin.endpoint:
        return f"The Hub at {origin.endpoint} answers: the model and the dataset come from there."
    return (
        "The Hub cannot be reached: the model and the dataset come from the hub mirror that ships with miStudio,\n"
        "filled from installed packages."
    )


def _farewell(options: StackOptions) -> str:
    arguments = ["--hub-mirror"] if options.hub_mirror else []
    if options.data_dir != StackOptions().data_dir:
        arguments.append(f"--data-dir {options.data_dir}")
    command = f'make up ARGS="{" ".join(arguments)}"' if arguments else "make up"
    return (
        f"The stack is stopped; what was made is kept in {options.data_dir}. Start it again on the same data: {command}"
    )


async def _show_main_job(targets: list[str], origin: Origin, output: Output) -> None:
    async with Client(targets) as client:
        session = Session(client, output)
        _say(output.console, f"\nBringing in {origin.model} and {origin.dataset}", bold=True)
        dataset_id, model_id = await _bring_in(session, origin)
        _say(output.console, f"\nTokenizing {origin.dataset} for {origin.model}", bold=True)
        tokenization = await _tokenize(session, dataset_id, model_id)
        _say(output.console, "\nToken statistics", bold=True)
        await _show_statistics(session, tokenization)
        _say(output.console, f"\n{_SAMPLES} of {number(tokenization.documents)} documents with their tokens", bold=True)
        await _show_samples(session, tokenization)


async def _bring_in(session: Session, origin: Origin) -> tuple[str, str]:
    """Download both at the same time and say what they are; gives the dataset's and the model's id."""
    client = session.client
    dataset, model = await asyncio.gather(
        client.datasets.DownloadDataset(datasets_service_pb2.DownloadDatasetRequest(repo_id=origin.dataset)),
        client.models.DownloadModel(models_service_pb2.DownloadModelRequest(repo_id=origin.model)),
    )
    with session.output.jobs_view() as view:
        await asyncio.gather(
            session.follow(view, label_of(f"dataset {origin.dataset}", dataset.joined, dataset.job), dataset.job),
            session.follow(view, label_of(f"model   {origin.model}", model.joined, model.job), model.job),
        )
    await _describe(session, dataset.dataset.id, model.model.id)
    return dataset.dataset.id, model.model.id


async def _describe(session: Session, dataset_id: str, model_id: str) -> None:
    """Say what the dataset and the model are, now that they are here."""
    client, console = session.client, session.output.console
    dataset = (await client.datasets.GetDataset(datasets_service_pb2.GetDatasetRequest(id=dataset_id))).dataset
    splits = ", ".join(f"{number(split.rows)} rows in {split.name}" for split in dataset.splits)
    columns = ", ".join(column.name for column in dataset.columns)
    _say(console, f"The dataset has {splits}; columns {columns}; {byte_size(dataset.size_bytes)}.")
    model = (await client.models.GetModel(models_service_pb2.GetModelRequest(id=model_id))).model
    facts = model.facts
    shape = f"{number(facts.parameters)} parameters, {facts.layers} layers of {number(facts.hidden_size)}"
    _say(console, f"The model is a {facts.architecture or facts.model_type}: {shape}; {byte_size(model.size_bytes)}.")


async def _tokenize(session: Session, dataset_id: str, model_id: str) -> tokenization_pb2.Tokenization:
    """Tokenize the dataset for the model; gives the finished tokenization."""
    stub = session.client.tokenizations
    request = tokenizations_service_pb2.CreateTokenizationRequest(dataset_id=dataset_id, model_id=model_id)
    answer = await stub.CreateTokenization(request)
    with session.output.jobs_view() as view:
        await session.follow(view, label_of("tokens", answer.joined, answer.job), answer.job)
    get = tokenizations_service_pb2.GetTokenizationRequest(id=answer.tokenization.id)
    return (await stub.GetTokenization(get)).tokenization


async def _show_statistics(session: Session, tokenization: tokenization_pb2.Tokenization) -> None:
    request = tokenizations_service_pb2.GetTokenizationStatisticsRequest(id=tokenization.id)
    answer = await session.client.tokenizations.GetTokenizationStatistics(request)
    show_statistics(session.output.console, answer.statistics)


async def _show_samples(session: Session, tokenization: tokenization_pb2.Tokenization) -> None:
    """Documents from all over the dataset: each one's text, tokens and ids."""
    count = min(_SAMPLES, tokenization.documents)
    for document in (tokenization.documents * part // count for part in range(count)):
        request = tokenizations_service_pb2.ListSequencesRequest(
            tokenization_id=tokenization.id, offset=document, page_size=1, max_tokens=_SAMPLE_TOKENS
        )
        answer = await session.client.tokenizations.ListSequences(request)
        text = await _text_of(session, tokenization, document)
        show_sequence(session.output.console, answer.sequences[0], text=text, width=_SAMPLE_WIDTH)


async def _text_of(session: Session, tokenization: tokenization_pb2.Tokenization, row: int) -> str:
    settings = tokenization.settings
    request = datasets_service_pb2.ListSamplesRequest(
        dataset_id=tokenization.dataset_id, split=settings.split, offset=row, page_size=1
    )
    sample = (await session.client.datasets.ListSamples(request)).samples[0]
    return sample.values.fields[settings.text_column].string_value


def _say(console: Console, text: str, *, bold: bool = False) -> None:
    console.print(Text(text, style="bold" if bold else ""), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

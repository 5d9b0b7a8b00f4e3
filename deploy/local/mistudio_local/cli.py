"""`python -m mistudio_local up`: the embedded stack in a terminal, until Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mistudio_local.ancestors import Ancestors
from mistudio_local.config import StackOptions, StackPorts
from mistudio_local.layout import PRODUCT, Programs
from mistudio_local.stack import Stack
from mistudio_servicekit.errors import MistudioError

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WATCH_SECONDS = 0.25
_log = logging.getLogger(__name__)


class StopRequested(BaseException):
    """Raised in the main thread by the first stop signal, wherever it is; later ones are ignored."""


def main(argv: Sequence[str]) -> int:
    """Run the command line `argv`; the exit status is 0 after an orderly stop and 1 where the stack cannot run."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        return run(options_from(argv, os.environ))
    except MistudioError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1


def run(options: StackOptions, programs: Programs = PRODUCT) -> int:
    """Run a stack until a stop signal comes or an ancestor process ends; return the exit status."""
    ancestors = Ancestors()
    for number in _STOP_SIGNALS:
        signal.signal(number, _request_stop)
    try:
        with Stack(options, programs) as stack:
            sys.stdout.write(ready_table(stack))
            sys.stdout.flush()
            while not ancestors.gone():
                time.sleep(_WATCH_SECONDS)
            _log.warning("the process that started the stack is gone; stopping")
            _ignore_stop_signals()
    except StopRequested:
        _log.info("stopped")
    return 0


def options_from(argv: Sequence[str], environ: Mapping[str, str]) -> StackOptions:
    """The options that a command line and an environment ask for."""
    arguments = _parser().parse_args(argv)
    ports = StackPorts(**{port.name: getattr(arguments, f"{port.name}_port") for port in fields(StackPorts)})
    return StackOptions(
        data_dir=arguments.data_dir,
        ports=ports,
        datasets_workers=arguments.datasets_workers,
        models_workers=arguments.models_workers,
        models_gpu_workers=arguments.models_gpu_workers,
        gateways=arguments.gateways,
        hub_mirror=arguments.hub_mirror,
        datasets_database_url=environ.get("MISTUDIO_DATASETS_DATABASE_URL") or None,
        models_database_url=environ.get("MISTUDIO_MODELS_DATABASE_URL") or None,
        nats_url=environ.get("MISTUDIO_NATS_URL") or None,
    )


def ready_table(stack: Stack) -> str:
    """What runs where, one process a line."""
    rows = [
        (name, str(process.pid) if process.running else "-", process.spec.address)
        for name, process in stack.processes.items()
    ]
    rows += [(f"http of gateway-{number}", "", f"http://{at}") for number, at in enumerate(stack.http_addresses, 1)]
    lines = [f"  {name:<22}{pid:>8}  {address}" for name, pid, address in rows]
    title = f"miStudio is ready; data in {stack.folder.root}, logs in {stack.folder.logs}. Ctrl-C stops it."
    return "\n".join([title, f"  {'process':<22}{'pid':>8}  address", *lines, ""])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mistudio_local",
        epilog="External servers: set MISTUDIO_DATASETS_DATABASE_URL and MISTUDIO_MODELS_DATABASE_URL, or "
        "MISTUDIO_NATS_URL. What could run code of strangers is refused unless MISTUDIO_ALLOW_PICKLE=true or "
        "MISTUDIO_ALLOW_REMOTE_CODE=true; MISTUDIO_MODEL_BUDGET_BYTES limits what a worker holds of models. "
        "Start with setsid to let the stack run on after the terminal is closed.",
    )
    up = parser.add_subparsers(required=True, metavar="up").add_parser(
        "up", help="start the stack and run until Ctrl-C", epilog=parser.epilog
    )
    defaults = StackOptions()
    up.add_argument("--data-dir", type=Path, default=defaults.data_dir, help="kept data (default: %(default)s)")
    for name, what in (
        ("datasets_workers", "worker processes of the datasets service"),
        ("models_workers", "worker processes of the models service"),
        ("models_gpu_workers", "worker processes of the models service for NVIDIA GPUs"),
        ("gateways", "gateway replicas"),
    ):
        flag, default = f"--{name.replace('_', '-')}", getattr(defaults, name)
        up.add_argument(flag, type=int, default=default, metavar="N", help=f"{what} (default: %(default)s)")
    up.add_argument(
        "--hub-mirror",
        action=argparse.BooleanOptionalAction,
        default=defaults.hub_mirror,
        help="use the mirror that ships with the stack instead of the Hub",
    )
    for port in fields(StackPorts):
        flag = f"--{port.name.replace('_', '-')}-port"
        default = getattr(defaults.ports, port.name)
        up.add_argument(flag, type=int, default=default, metavar="PORT", help="default: %(default)s; 0: a free one")
    return parser


def _request_stop(number: int, frame: FrameType | None) -> NoReturn:
    _ignore_stop_signals()
    raise StopRequested


def _ignore_stop_signals() -> None:
    # Stopping is bounded in time; an impatient second Ctrl-C shall not leave half of it undone.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)

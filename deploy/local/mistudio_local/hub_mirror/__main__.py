"""`python -m mistudio_local.hub_mirror --root FOLDER [--port N] [--host ADDRESS]`: serve until interrupted."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from mistudio_local.hub_mirror.server import HubMirror
from mistudio_local.hub_mirror.shelf import fill


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m mistudio_local.hub_mirror", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder with models/ and datasets/")
    parser.add_argument("--port", type=int, default=0, help="port of the Hub's listener (default: a free one)")
    parser.add_argument("--cdn-port", type=int, default=0, help="port that large files come from (default: a free one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--fill", action="store_true", help="first put in what comes with installed packages")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    mirror = HubMirror(arguments.root, arguments.port, cdn_port=arguments.cdn_port, host=arguments.host)
    async with mirror:
        sys.stdout.write(f"{mirror.url}\n")
        sys.stdout.flush()
        await stopped.wait()


def main() -> None:
    """Serve until SIGINT or SIGTERM; the first line of output is the address, once it answers."""
    arguments = _arguments()
    if arguments.fill:
        fill(arguments.root)
    asyncio.run(_serve(arguments))


if __name__ == "__main__":
    main()

"""`python -m mistudio_jobs.testing_worker SETTINGS`: a worker of a test's `Stand` as a process that can be killed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

from mistudio_jobs.secrets import SecretKeys
from mistudio_jobs.testing import FLEETING, SERVICE, Stand
from mistudio_jobs.timing import Timing
from mistudio_servicekit.database import Database
from mistudio_servicekit.server import run
from mistudio_servicekit.storage import Store


async def main(settings: dict[str, str]) -> None:
    """Work until SIGTERM; says `ready` once it listens for that."""
    database = Database(settings["url"], SERVICE, pool_size=3)
    timing = Timing() if settings.get("timing") == "production" else FLEETING
    timing = replace(timing, drain=float(settings.get("drain", timing.drain)))
    keys = SecretKeys(bytes.fromhex(settings["key"]))
    stand = Stand(database, settings["nats_url"], Store(Path(settings["store"])), timing, keys)
    worker = stand.new_worker(keeper=settings.get("keeper"))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await worker.run()
    await database.close()


if __name__ == "__main__":
    run(main(json.loads(sys.argv[1])))

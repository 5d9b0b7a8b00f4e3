"""Workers as processes of their own, which can be killed, with leases that run out soon."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mistudio_servicekit.backend import BackendConfig

_WORK = """
import os
from mistudio_jobs import process
from mistudio_jobs.testing import FLEETING
from mistudio_models.config import WorkerConfig
from mistudio_models.worker import working
from mistudio_servicekit.config import Environment
from mistudio_servicekit.server import run
run(process.work(working(WorkerConfig.read(Environment(os.environ)), FLEETING)))
"""


@contextmanager
def worker_process(backend: BackendConfig, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker called `name`, killed at the latest when the block is left; its jobs' process dies with it."""
    environment = {
        **os.environ,
        "MISTUDIO_DATABASE_URL": backend.database_url,
        "MISTUDIO_NATS_URL": backend.nats_url,
        "MISTUDIO_STORE_DIR": str(backend.store.root),
        "MISTUDIO_STORE_QUOTA_BYTES": str(backend.store.quota_bytes or 0),
        "MISTUDIO_SECRET_KEY": "\n".join(base64.b64encode(key).decode() for key in backend.keys),
        "MISTUDIO_HUB_ENDPOINT": backend.hub_endpoint,
        "MISTUDIO_WORKER_NAME": name,
        "MISTUDIO_METRICS_LISTEN": "127.0.0.1:0",
    }
    process = subprocess.Popen([sys.executable, "-c", _WORK], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()

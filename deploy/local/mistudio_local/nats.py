"""A real NATS server with JetStream from pip, run as our own child."""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

from mistudio_local.errors import CannotRunHere
from mistudio_local.guard import Guard
from mistudio_local.lifecycle import Startable
from mistudio_local.ports import HOST, choose_port
from mistudio_local.process import ProcessSpec, SupervisedProcess
from mistudio_local.readiness import nats_with_jetstream


class NatsServer(Startable):
    """NATS with JetStream on 127.0.0.1.

    Args:
        folder: holds the streams, the configuration and the log; made when missing.
        guard: ends the server when this process is killed.
        port: the TCP port, 0 for a free one, kept over restarts of this object.
        durable: False flushes to disk now and then only, for tests that throw the folder away.
    """

    def __init__(self, folder: Path, guard: Guard, *, port: int = 0, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.port = choose_port(port)
        self._durable = durable
        self._config_file = self.folder / "nats.conf"
        self.process = SupervisedProcess(self._spec(), self.folder / "nats.log", guard)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{HOST}:{self.port}"

    def start(self) -> None:
        """Write the configuration and start the server.

        Raises:
            StartFailed: it does not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._config_file.write_text(self._config())
        self.process.start()

    def stop(self) -> None:
        """Stop the server in order."""
        self.process.stop()

    def _spec(self) -> ProcessSpec:
        return ProcessSpec(
            name="nats",
            argv=[_program(), "--config", str(self._config_file)],
            ready=nats_with_jetstream(HOST, self.port),
            address=f"{HOST}:{self.port}",
        )

    def _config(self) -> str:
        # By default JetStream flushes every two minutes, and loses acknowledged messages when the power goes.
        sync = "sync_interval: always" if self._durable else ""
        store = json.dumps(str(self.folder / "jetstream"))
        return f"listen: {HOST}:{self.port}\njetstream {{\n  store_dir: {store}\n  {sync}\n}}\n"


def _program() -> str:
    path = shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")
    if path is None:
        raise CannotRunHere("The program 'nats-server' is missing", next_step="Run make setup")
    return path

"""The gateway process: `python -m mistudio_gateway.server`. All its wiring is here."""

from __future__ import annotations

import gc
import os
from contextlib import AsyncExitStack

from mistudio_gateway.backends import DATASETS, JOBS_SERVICE, MODELS, Backend, backend_of, forwarded_services
from mistudio_gateway.config import GatewayConfig
from mistudio_gateway.eventlog import EventLog
from mistudio_gateway.forward import Forwarder
from mistudio_gateway.jobs import Jobs
from mistudio_gateway.servicer import jobs_handler
from mistudio_gateway.tail import Tail
from mistudio_gateway.watch import Feed
from mistudio_gateway.watching import Watching
from mistudio_servicekit.config import Environment
from mistudio_servicekit.logging import setup_logging
from mistudio_servicekit.server import Server, run, until_stopped

EVENT_LOG = "events"
"""Name of the event log's check, beside those of the backends."""


class Gateway:
    """One gateway, as an async context manager: it answers inside the block.

    Args:
        config: where it listens and what it stands before.
    """

    def __init__(self, config: GatewayConfig) -> None:
        targets = {DATASETS: config.datasets_target, MODELS: config.models_target}
        self._backends = {name: Backend.open(name, target) for name, target in targets.items()}
        self._log = EventLog(config.nats_url)
        self._tail = Tail(self._log, config.ring_bytes)
        jobs = Jobs(self._backends, config.unary_seconds)
        watching = Watching(Feed(self._tail, self._log), jobs, config.blocked_seconds)
        self._server = self._build_server(config)
        handlers = (jobs_handler(jobs, watching, self._log), Forwarder(self._backends, config.unary_seconds))
        self._server.grpc.add_generic_rpc_handlers(handlers)

    def _build_server(self, config: GatewayConfig) -> Server:
        services = [str(service.full_name) for service in forwarded_services()]
        checks = {name: backend.check for name, backend in self._backends.items()}
        # The gateway itself works while a backend is away; each service's name tells of its own backend.
        needs = {service: [str(backend_of(service))] for service in services}
        needs |= {"": [], JOBS_SERVICE.full_name: [EVENT_LOG]}
        return Server(
            config.server, [*services, JOBS_SERVICE.full_name], {**checks, EVENT_LOG: self._tail.check}, needs
        )

    @property
    def port(self) -> int:
        """The bound gRPC port."""
        return self._server.port

    @property
    def http_port(self) -> int:
        """The bound port of /metrics and /healthz."""
        return self._server.operations_port

    async def __aenter__(self) -> Gateway:
        async with AsyncExitStack() as stack:
            for backend in self._backends.values():
                stack.push_async_callback(backend.channel.close)
            stack.push_async_callback(self._log.close)
            stack.push_async_callback(self._tail.stop)
            await self._tail.start()
            await self._server.start()
            stack.push_async_callback(self._server.stop)
            stack.callback(self._tail.drain)
            self._running = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send the watchers elsewhere, let running calls finish, close everything."""
        await self._running.aclose()


async def serve(config: GatewayConfig) -> None:
    """Serve until SIGTERM or SIGINT."""
    async with Gateway(config):
        # A full collection holds all watchers up, a thousand of them by 100 ms: it leaves out what the start has made,
        # and waits for 2,000,000 new objects. An event makes some 10,000 for a thousand watchers, which soon go by
        # themselves: a small collection waits until they have.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)
        await until_stopped()


if __name__ == "__main__":
    setup_logging("gateway")
    run(serve(GatewayConfig.read(Environment(os.environ))))

"""The operations port of a process: /metrics for Prometheus, /healthz for probes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Problems = Callable[[], Awaitable[dict[str, str]]]


class OperationsServer:
    """Serves /metrics and /healthz over HTTP.

    Args:
        listen: `host:port`; port 0 takes a free one.
        problems: names what is wrong just now; empty means ready (200), otherwise /healthz answers 503 with it.
    """

    def __init__(self, listen: str, problems: Problems) -> None:
        self._host, _, port = listen.rpartition(":")
        self.port = int(port)
        self._problems = problems
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Bind the port and begin to answer; `port` has the bound one."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port."""
        if self._runner:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        problems = await self._problems()
        return web.Response(
            status=503 if problems else 200, text=json.dumps({"problems": problems}), content_type="application/json"
        )

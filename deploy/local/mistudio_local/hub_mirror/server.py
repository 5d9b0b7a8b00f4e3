"""The mirror's two listeners, as an async context manager."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from mistudio_local.hub_mirror.access import RefusedError
from mistudio_local.hub_mirror.api import Metadata
from mistudio_local.hub_mirror.content import RECORD, Contents
from mistudio_local.hub_mirror.faults import Faults, Listener, RequestRecord
from mistudio_local.hub_mirror.repositories import Repositories


class HubMirror:
    """Serves the folders below `root` while entered.

    Large files are redirected to a second listener, as the Hub redirects them to its CDN.

    Args:
        root: folder in the layout that the package describes.
        port: port of the Hub's listener; 0 takes a free one.
        cdn_port: port of the CDN's listener; 0 takes a free one.
        host: address to listen on.
        faults: disturbances to show, for tests; may be changed while the mirror runs.
        page_entries: most entries in one page of a tree, as on the Hub.
    """

    def __init__(
        self,
        root: Path,
        port: int = 0,
        *,
        cdn_port: int = 0,
        host: str = "127.0.0.1",
        faults: Faults | None = None,
        page_entries: int = 1000,
    ) -> None:
        self.faults = faults or Faults()
        self._host = host
        self._ports = {Listener.HUB: port, Listener.CDN: cdn_port}
        repositories = Repositories(root)
        self._contents = Contents(repositories, self.faults, lambda: self._ports[Listener.CDN])
        self._metadata = Metadata(repositories, page_entries)
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """The address to use as `HF_ENDPOINT`."""
        return f"http://{self._host}:{self._ports[Listener.HUB]}"

    def expire_links(self) -> None:
        """Make every redirect given so far invalid, as the Hub's signed links become after a while."""
        self._contents.expire_links()

    async def __aenter__(self) -> Self:
        await self._listen(Listener.CDN, self._contents.cdn_routes())
        await self._listen(Listener.HUB, [*self._metadata.routes(), *self._contents.hub_routes()])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _listen(self, listener: Listener, routes: list[web.RouteDef]) -> None:
        app = web.Application(middlewares=[self._middleware(listener)])
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0, handler_cancellation=True)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, self._host, self._ports[listener])
        await site.start()
        self._ports[listener] = int(runner.addresses[0][1])

    def _middleware(self, listener: Listener) -> Middleware:
        @web.middleware
        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            headers = request.headers
            record = RequestRecord(
                listener, request.method, request.path, headers.get("Range", ""), "Authorization" in headers
            )
            self.faults.requests.append(record)
            request[RECORD] = record
            response = await self._answer(request, handler, record)
            record.status = response.status
            return response

        return answer

    async def _answer(self, request: web.Request, handler: Handler, record: RequestRecord) -> web.StreamResponse:
        refusal = self.faults.refusal(record.listener, request.path)
        if refusal is not None:
            headers = {"Retry-After": refusal.retry_after} if refusal.retry_after is not None else {}
            return RefusedError(refusal.status, "Refused for a test", headers=headers).response()
        try:
            return await handler(request)
        except RefusedError as refused:
            return refused.response()
        except web.HTTPNotFound:
            return RefusedError(404, "Not found").response()

"""The mirror's file contents: `resolve` on the Hub's listener, large files on the CDN's, ranges, and faulty bodies."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from aiohttp import web

from mistudio_local.hub_mirror.access import RefusedError, require_content, user_of
from mistudio_local.hub_mirror.api import find, find_signed
from mistudio_local.hub_mirror.faults import Body, Faults, RequestRecord
from mistudio_local.hub_mirror.repositories import MirrorFile, Repositories

RECORD = web.RequestKey("record", RequestRecord)

_RESOLVE = "{owner}/{name}/resolve/{revision}/{path:.+}"
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CHUNK_BYTES = 256 * 1024
_CHUNK_OF_SLOW_BODY = 16 * 1024


@dataclass(frozen=True)
class Span:
    """The bytes `start` to `start + length` of a file, which a request asks for; `partial` where it gave a range."""

    start: int
    length: int
    partial: bool


class Contents:
    """Handlers that send files.

    Args:
        repositories: what is served.
        faults: disturbances of the bodies.
        cdn_port: gives the port of the CDN's listener, known once it listens.
    """

    def __init__(self, repositories: Repositories, faults: Faults, cdn_port: Callable[[], int]) -> None:
        self._repositories = repositories
        self._faults = faults
        self._cdn_port = cdn_port
        self._signing_key = secrets.token_bytes(16)

    def hub_routes(self) -> list[web.RouteDef]:
        """The paths of the Hub's listener, for GET and HEAD."""
        paths = ("/" + _RESOLVE, "/{kind:datasets}/" + _RESOLVE)
        return [web.get(path, self.resolve) for path in paths]

    def cdn_routes(self) -> list[web.RouteDef]:
        """The paths of the CDN's listener, for GET and HEAD."""
        return [web.get("/{kind:models|datasets}/" + _RESOLVE, self.cdn)]

    async def resolve(self, request: web.Request) -> web.StreamResponse:
        """A small file, or a redirect to the CDN for a large one."""
        repository, snapshot = await find(request, self._repositories)
        require_content(repository, user_of(request, self._repositories))
        file = _file(snapshot.files.get(request.match_info["path"]))
        headers = {"X-Repo-Commit": snapshot.commit, "Accept-Ranges": "bytes"}
        if not file.large:
            return await self._send(request, file, headers)
        path = f"/{repository.kind}/{repository.repo_id}/resolve/{snapshot.commit}/{file.path}"
        location = request.url.with_port(self._cdn_port()).with_path(path).with_query(signature=self._sign(path))
        headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(file.size), "Location": str(location)}
        return web.Response(status=302, headers=headers)

    async def cdn(self, request: web.Request) -> web.StreamResponse:
        """A large file, for whoever holds a signed link."""
        expected = self._sign(request.path)
        if not hmac.compare_digest(expected, request.query.get("signature", "")):
            raise RefusedError(403, "The link's signature is wrong or too old")
        snapshot = await find_signed(request, self._repositories)
        return await self._send(request, _file(snapshot.files.get(request.match_info["path"])), {})

    def expire_links(self) -> None:
        """Make every link to the CDN given so far invalid."""
        self._signing_key = secrets.token_bytes(16)

    def _sign(self, path: str) -> str:
        return hmac.new(self._signing_key, path.encode(), hashlib.sha256).hexdigest()

    async def _send(self, request: web.Request, file: MirrorFile, headers: dict[str, str]) -> web.StreamResponse:
        span = _span(request.headers.get("Range", ""), file.size)
        response = web.StreamResponse(status=206 if span.partial else 200, headers=headers)
        response.headers["ETag"] = f'"{file.etag}"'
        response.content_type = "application/octet-stream"
        response.content_length = span.length
        if span.partial:
            last = span.start + span.length - 1
            response.headers["Content-Range"] = f"bytes {span.start}-{last}/{file.size}"
        await response.prepare(request)
        if request.method != "HEAD":
            body = self._faults.body(request.path, span.start, span.length)
            with file.local.open("rb") as opened:
                await _send_body(request, response, opened, span, body)
        return response


def _file(found: MirrorFile | None) -> MirrorFile:
    if found is None:
        raise RefusedError(404, "Entry not found", "EntryNotFound")
    return found


def _span(header: str, size: int) -> Span:
    """The span that a `Range` header asks for; anything but one plain range is ignored, as the standard allows."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or not any(match.groups()):
        return Span(0, size, partial=False)
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        raise RefusedError(416, f"Range {header} is outside the file", headers={"Content-Range": f"bytes */{size}"})
    return Span(start, end - start, partial=True)


async def _send_body(
    request: web.Request, response: web.StreamResponse, file: BinaryIO, span: Span, body: Body | None
) -> None:
    record = request[RECORD]
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("The client has gone")
    if body is not None:
        await _send_disturbed(response, file, span, body, record)
        if body.cut_after is not None:
            transport.abort()
        return
    # Counted first, so that whoever holds the last byte finds it counted.
    record.bytes_sent = span.length
    try:
        if span.length:
            await asyncio.get_running_loop().sendfile(transport, file, span.start, span.length)
    except OSError:
        record.bytes_sent = max(0, file.tell() - span.start)
        raise
    await response.write_eof()


async def _send_disturbed(
    response: web.StreamResponse, file: BinaryIO, span: Span, body: Body, record: RequestRecord
) -> None:
    limits = [limit for limit in (body.cut_after, body.stall_after) if limit is not None]
    end = span.start + min([span.length, *limits])
    chunk_bytes = _CHUNK_OF_SLOW_BODY if body.bytes_per_second else _CHUNK_BYTES
    for offset in range(span.start, end, chunk_bytes):
        file.seek(offset)
        chunk = bytearray(file.read(min(chunk_bytes, end - offset)))
        if body.corrupt_at is not None and offset <= body.corrupt_at < offset + len(chunk):
            chunk[body.corrupt_at - offset] ^= 0xFF
        record.bytes_sent += len(chunk)
        await response.write(bytes(chunk))
        if body.bytes_per_second:
            await asyncio.sleep(len(chunk) / body.bytes_per_second)
    if body.stall_after is not None:
        await asyncio.Event().wait()  # until the client or the mirror closes the connection
    await response.drain() if body.cut_after is not None else await response.write_eof()

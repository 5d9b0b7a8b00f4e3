"""Bytes of files over HTTP: one thread's connections, which another thread can break off at any moment.

Python's own `http.client`, because the socket below it can be shut down from outside, which ends a stalled read at
once, and because its reads cost the least: half the processor time of httpx for the same 600 MB, where the other half
is wanted for checksums.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # re-exported lazily

from mistudio_hub.failures import Subject, from_status, is_transient, retry_after_seconds, unavailable
from mistudio_hub.ranges import Range
from mistudio_hub.repository import RepoFile, RepoSource
from mistudio_hub.stopping import Stop
from mistudio_servicekit.errors import ChecksumMismatch, MistudioError

_READ_BYTES = 1024 * 1024
_ERROR_BODY_BYTES = 64 * 1024
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class BrokenOffError(Exception):
    """An answer failed in a way that another try may mend.

    Args:
        failure: the error to report when no try is left.
        retry_after: how long the server asks to wait, in seconds.
    """

    def __init__(self, failure: MistudioError, retry_after: float | None = None) -> None:
        super().__init__(failure.problem)
        self.failure = failure
        self.retry_after = retry_after


class Origin(NamedTuple):
    """What decides whether two addresses are the same server."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of `url`."""
        parts = urlsplit(url)
        return cls(parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0))


@dataclass(frozen=True)
class Patience:
    """How long a connection may take to open, and may then stay silent, in seconds."""

    connect_seconds: float
    stall_seconds: float


class Wire:
    """One thread's connections, kept open between requests.

    The token goes to the source's own origin alone, never to where that redirects.

    Args:
        source: where files come from, and the token.
        tls: settings of encrypted connections.
        patience: limits of waiting.
        locations: where the source redirected to, by file path; shared by all threads of a download.
        stop: ends a connection that opens too late.
    """

    def __init__(
        self, source: RepoSource, tls: ssl.SSLContext, patience: Patience, locations: dict[str, str], stop: Stop
    ) -> None:
        self._source = source
        self._home = Origin.of(source.endpoint)
        self._tls = tls
        self._patience = patience
        self._locations = locations
        self._stop = stop
        self._connections: dict[Origin, http.client.HTTPConnection] = {}

    def read(self, file: RepoFile, span: Range) -> Iterator[bytes]:
        """The bytes of `span` in pieces as they arrive.

        Raises:
            BrokenOffError: the connection failed, stalled or ended early, or the server asks to come again.
            MistudioError: the server refuses for good.
        """
        subject = self._subject(file)
        url, response = self._answer(file, span, subject)
        remaining = span[1] - span[0]
        try:
            _require_span(response, span, file, subject)
            while remaining:
                chunk = self._read_piece(response, remaining, subject)
                remaining -= len(chunk)
                yield chunk
        finally:
            response.close()
            if remaining:
                self._drop(Origin.of(url))

    def abort(self) -> None:
        """Break off whatever is being read or sent; called from another thread."""
        for connection in list(self._connections.values()):
            _shut_down(connection.sock)

    def close(self) -> None:
        """Close all connections."""
        for origin in list(self._connections):
            self._drop(origin)

    def _answer(self, file: RepoFile, span: Range, subject: Subject) -> tuple[str, http.client.HTTPResponse]:
        """A successful answer, with the address that gave it after all redirects."""
        url = self._locations.get(file.path) or self._source.url(file.path)
        for _ in range(_MOST_REDIRECTS):
            response = self._request(url, self._headers(url, file, span), subject)
            if response.status not in _REDIRECTS:
                break
            self._discard(url, response)
            url = urljoin(url, response.headers.get("Location", ""))
            self._locations[file.path] = url
        if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            self._discard(url, response)
            self._refused(url, response, file, subject)
        return url, response

    def _refused(self, url: str, response: http.client.HTTPResponse, file: RepoFile, subject: Subject) -> None:
        status, headers = response.status, dict(response.headers.items())
        self._locations.pop(file.path, None)
        if is_transient(status):
            raise BrokenOffError(from_status(status, headers, subject), retry_after_seconds(headers))
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise _other_size(file, "fewer")
        if Origin.of(url) != self._home or status in _REDIRECTS:
            # A link that has run out; the source gives a new one.
            raise BrokenOffError(unavailable(subject, f"redirects to a link that answers with HTTP status {status}"))
        raise from_status(status, headers, subject)

    def _headers(self, url: str, file: RepoFile, span: Range) -> dict[str, str]:
        token = self._source.token if Origin.of(url) == self._home else None
        headers: dict[str, str] = build_hf_headers(token=token or False, library_name="mistudio")
        headers["Accept-Encoding"] = "identity"
        if span != (0, file.size):
            headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
        return headers

    def _request(self, url: str, headers: dict[str, str], subject: Subject) -> http.client.HTTPResponse:
        origin = Origin.of(url)
        try:
            connection = self._connection(origin)
            parts = urlsplit(url)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            proxied = (connection.host, connection.port) != origin[1:] and origin.scheme == "http"
            connection.request("GET", url if proxied else target, headers=headers)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self._drop(origin)
            self._stop.check()
            raise BrokenOffError(unavailable(subject, f"cannot be reached ({type(error).__name__})")) from error

    def _read_piece(self, response: http.client.HTTPResponse, remaining: int, subject: Subject) -> bytes:
        try:
            piece = response.read1(min(remaining, _READ_BYTES))
        except (OSError, http.client.HTTPException) as error:
            self._stop.check()
            raise BrokenOffError(unavailable(subject, f"broke off an answer ({type(error).__name__})")) from error
        if not piece:
            self._stop.check()
            raise BrokenOffError(unavailable(subject, f"ended an answer {remaining:,} bytes early"))
        return piece

    def _connection(self, origin: Origin) -> http.client.HTTPConnection:
        connection = self._connections.get(origin)
        if connection is None:
            connection = _new_connection(origin, self._tls, self._patience.connect_seconds)
            self._connections[origin] = connection
        if not isinstance(connection.sock, socket.socket):
            connection.connect()
            connection.sock.settimeout(self._patience.stall_seconds)
        self._stop.check()
        return connection

    def _discard(self, url: str, response: http.client.HTTPResponse) -> None:
        """Read off the body of an answer that is not used, so that its connection can be."""
        try:
            response.read(_ERROR_BODY_BYTES)
        except (OSError, http.client.HTTPException):
            self._drop(Origin.of(url))
        if not response.isclosed():
            self._drop(Origin.of(url))

    def _drop(self, origin: Origin) -> None:
        connection = self._connections.pop(origin, None)
        if connection is not None:
            connection.close()

    def _subject(self, file: RepoFile) -> Subject:
        repo = self._source.repo
        has_token = self._source.token is not None
        return Subject(self._source.endpoint, repo.repo_type, repo.repo_id, repo.commit, file.path, has_token)


def _new_connection(origin: Origin, tls: ssl.SSLContext, timeout: float) -> http.client.HTTPConnection:
    """A connection to `origin`, through the proxy that the environment sets for it, if any."""
    proxy = None if proxy_bypass(origin.host) else getproxies().get(origin.scheme)
    if proxy is None:
        if origin.scheme == "https":
            return http.client.HTTPSConnection(origin.host, origin.port, timeout=timeout, context=tls)
        return http.client.HTTPConnection(origin.host, origin.port, timeout=timeout)
    middle = Origin.of(proxy if "://" in proxy else f"http://{proxy}")
    if origin.scheme == "http":
        return http.client.HTTPConnection(middle.host, middle.port, timeout=timeout)
    connection = http.client.HTTPSConnection(middle.host, middle.port, timeout=timeout, context=tls)
    connection.set_tunnel(origin.host, origin.port)
    return connection


def _require_span(response: http.client.HTTPResponse, span: Range, file: RepoFile, subject: Subject) -> None:
    """Raise unless the answer holds exactly `span` of a file of the expected size."""
    if response.status == HTTPStatus.OK:
        if span != (0, file.size):
            raise unavailable(subject, "ignores byte ranges, which large files need")
        if response.length not in (None, file.size):
            raise _other_size(file, f"{response.length:,}")
        return
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != span[0]:
        raise unavailable(subject, "answers with another byte range than asked for")
    if int(match[2]) != file.size:
        raise _other_size(file, f"{int(match[2]):,}")


def _other_size(file: RepoFile, sent: str) -> ChecksumMismatch:
    return ChecksumMismatch(
        f"{file.path!r} should have {file.size:,} bytes and the Hub sends {sent}",
        next_step="Try again; if it stays, the repository or the mirror is damaged",
        metadata={"path": file.path},
    )


def _shut_down(sock: socket.socket | None) -> None:
    if sock is None:
        return
    try:
        # The plain socket's method: the encrypted one's would wait for, or trip over, the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return  # closed already

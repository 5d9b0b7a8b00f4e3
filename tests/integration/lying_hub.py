"""A Hub that gives files of a mirror other names in its lists."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_PASSED_ON = ("Content-Type", "ETag", "Link", "X-Error-Code", "X-Repo-Commit")


@contextmanager
def lying_hub(mirror_url: str, lies: Mapping[str, str]) -> Iterator[str]:
    """The address of a Hub that answers as the mirror does, but gives files other names.

    Args:
        mirror_url: address of the mirror.
        lies: what files are said to be called by what they are called, as JSON writes it.
    """

    class Liar(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                answer = urlopen(Request(mirror_url + self.path))
            except HTTPError as refusal:
                answer = refusal
            with answer:
                body = answer.read()
            for name, lie in lies.items():
                body = body.replace(_quoted(name), _quoted(lie))
            self._send(answer.status, dict(answer.headers), body)

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for header in _PASSED_ON:
                if header in headers:
                    self.send_header(header, headers[header])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def _quoted(name: str) -> bytes:
    return f'"{name}"'.encode()

"""A mirror that sends whole files, whatever range is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mistudio_hub.metadata import SMALL_FILE_BYTES, HubClient
from mistudio_hub.repository import RepoInfo, RepoType
from mistudio_servicekit.errors import HubUnavailable

_REPO = RepoInfo(RepoType.DATASET, "tiny/big", "c" * 40)


class _Whole(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"abcdef")

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def client() -> Iterator[HubClient]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Whole) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with HubClient(f"http://127.0.0.1:{server.server_port}") as client:
            yield client
        server.shutdown()
        thread.join()


def test_the_end_of_a_large_file_is_not_read_by_way_of_all_of_it(client: HubClient) -> None:
    assert client.read_range(_REPO, "small.bin", 2, 3) == b"cde"
    with pytest.raises(HubUnavailable, match="ignores byte ranges"):
        client.read_range(_REPO, "large.parquet", SMALL_FILE_BYTES + 1, 3)

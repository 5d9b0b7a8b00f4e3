"""Downloads over encrypted connections and through a proxy."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import RepoType
from mistudio_hub.transfer import TransferOptions, download
from mistudio_local.hub_mirror import Body
from mistudio_servicekit.errors import HubUnavailable, JobCancelled
from mistudio_servicekit.storage import Store

TEXT = "long.txt"


def write_certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(pem))
    return path


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        return  # one side has gone
    finally:
        writer.close()


@contextmanager
def encrypted(url: str, certificate: Path) -> Iterator[str]:
    """The https address of a server that passes everything on to `url`."""
    ready: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    target = urlsplit(url)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(copy(reader, behind[1]), copy(behind[0], writer))

    async def serve() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        stop = asyncio.Event()
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        ready.set_result((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), stop))
        await stop.wait()
        server.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(serve()))
        port, loop, stop = ready.result()
        try:
            yield f"https://127.0.0.1:{port}"
        finally:
            loop.call_soon_threadsafe(stop.set)


@pytest.fixture
def https_url(site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The mirror behind an encrypted connection, with a file that it sends itself."""
    (site.root / "models/owner/model" / TEXT).write_bytes(bytes(range(256)) * 4096)
    certificate = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with encrypted(site.mirror.url, certificate) as url:
        yield url


def fetch(url: str, folder: Path, check=lambda: None) -> None:
    """Download the files that the mirror sends itself."""
    with HubClient(url) as client:
        repo = client.repo_info(RepoType.MODEL, "owner/model")
        download(
            client.source(repo),
            [file for file in client.tree(repo) if file.sha256 is None],
            folder,
            reserve=Store(folder.parent).reserve,
            progress=lambda report: None,
            check=check,
            options=TransferOptions(streams=3, block_bytes=65536, stall_seconds=60, retries=1, backoff_seconds=0.01),
        )


def test_an_encrypted_download_brings_every_byte(site, https_url: str) -> None:
    fetch(https_url, site.folder)
    assert site.downloaded()[TEXT] == site.served()[TEXT]


def test_a_stalled_encrypted_download_is_cancelled_at_once(site, https_url: str) -> None:
    site.mirror.faults.bodies.append(Body(times=None, stall_after=10, path=f"*{TEXT}"))
    moment: list[float] = []

    def check() -> None:
        if sum(record.bytes_sent for record in site.mirror.faults.requests if TEXT in record.path) >= 30:
            moment.append(time.monotonic())
            raise JobCancelled("Cancelled", next_step="Nothing")

    with pytest.raises(JobCancelled):
        fetch(https_url, site.folder, check)
    assert time.monotonic() - moment[0] < 20  # of the 60 that the server may be silent


def test_an_untrusted_certificate_is_refused(
    https_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site
) -> None:
    with HubClient(https_url) as client:
        repo = client.repo_info(RepoType.MODEL, "owner/model")
        files, source = client.tree(repo), client.source(repo)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(HubUnavailable, match="SSL"):
        download(
            source,
            files,
            site.folder,
            reserve=Store(site.folder.parent).reserve,
            progress=lambda report: None,
            check=lambda: None,
            options=TransferOptions(retries=0),
        )


def test_a_proxy_of_the_environment_is_used(site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.mirror.url)
    monkeypatch.delenv("no_proxy", raising=False)
    fetch("http://hub.invalid", site.folder)
    assert site.downloaded()["config.json"] == b"{}"

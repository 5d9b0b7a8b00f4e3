"""Tiny real programs in the places of the product's, and a stack of them: `stand_in.py up [OPTION ...]`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import grpc
import psycopg
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from mistudio_local.cli import options_from, run
from mistudio_local.layout import DOMAINS, Programs


def programs() -> Programs:
    """A stack of stand-ins."""
    service, worker, migrate = ((sys.executable, __file__, role) for role in ("service", "worker", "migrate"))
    return Programs(
        migrations=dict.fromkeys(DOMAINS, migrate),
        services=dict.fromkeys(DOMAINS, service),
        workers=dict.fromkeys(DOMAINS, worker),
        gateway=service,
        hub_mirror=(),
    )


def migrate() -> None:
    url = urlsplit(os.environ["MISTUDIO_DATABASE_URL"])._replace(scheme="postgresql")
    with psycopg.connect(url.geturl()) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (at timestamptz)")
        connection.execute("INSERT INTO migrations VALUES (now())")


def serve_grpc() -> None:
    health = HealthServicer()
    health.set("", health_pb2.HealthCheckResponse.SERVING)
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(os.environ["MISTUDIO_LISTEN"])
    server.start()
    signal.sigwait({signal.SIGTERM})
    server.stop(0).wait()


class Healthz(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()


def work() -> None:
    """As a worker does, keeps a child in a session of its own, where no signal to the worker's group reaches it."""
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    host, _, port = os.environ["MISTUDIO_METRICS_LISTEN"].partition(":")
    HTTPServer((host, int(port)), Healthz).serve_forever()


if __name__ == "__main__":
    role, *options = sys.argv[1:]
    if role == "up":
        sys.exit(run(options_from(["up", *options], os.environ), programs()))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if role == "service" else set())
    {"migrate": migrate, "service": serve_grpc, "worker": work}[role]()

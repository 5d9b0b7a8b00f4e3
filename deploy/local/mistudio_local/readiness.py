"""Probes: does a process answer yet?"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2

Probe = Callable[[], bool]

_PATIENCE_SECONDS = 1.0


def grpc_serving(target: str) -> Probe:
    """Ready when the gRPC health service at `target` (host:port) reports SERVING for the whole server."""

    def probe() -> bool:
        with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = check(health_pb2.HealthCheckRequest(), timeout=_PATIENCE_SECONDS)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return probe


def http_ok(address: str, path: str) -> Probe:
    """Ready when GET `path` at `address` (host:port) is answered with 200."""

    def probe() -> bool:
        connection = http.client.HTTPConnection(address, timeout=_PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def nats_with_jetstream(host: str, port: int) -> Probe:
    """Ready when the NATS server greets with a line that says JetStream is on."""

    def probe() -> bool:
        try:
            with socket.create_connection((host, port), timeout=_PATIENCE_SECONDS) as connection:
                greeting = connection.makefile("rb").readline()
        except OSError:
            return False
        return greeting.startswith(b"INFO ") and bool(json.loads(greeting[5:]).get("jetstream"))

    return probe


def tcp_open(host: str, port: int) -> Probe:
    """Ready when something accepts connections."""

    def probe() -> bool:
        try:
            socket.create_connection((host, port), timeout=_PATIENCE_SECONDS).close()
        except OSError:
            return False
        return True

    return probe

"""Outgoing channels: keepalive, retries of idempotent calls while a backend is away, a deadline on every call."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import grpc

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
KEEPALIVE_SECONDS = 20
DEADLINE_SECONDS = 30.0

_IDEMPOTENT = ("Get", "List", "Inspect", "Estimate")


def channel_options(idempotent_methods: Sequence[tuple[str, str]] = ()) -> list[tuple[str, Any]]:
    """Channel arguments; each `(service, method)` given is retried on UNAVAILABLE."""
    retry = {
        "name": [{"service": service, "method": method} for service, method in idempotent_methods],
        "retryPolicy": {
            "maxAttempts": 4,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        },
    }
    service_config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if idempotent_methods:
        service_config["methodConfig"] = [retry]
    return [
        ("grpc.service_config", json.dumps(service_config)),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]


def idempotent(services: Sequence[Any]) -> list[tuple[str, str]]:
    """The `(service, method)` pairs of service descriptors that only read, judged by the verb of their names."""
    return [
        (service.full_name, method.name)
        for service in services
        for method in service.methods
        if method.name.startswith(_IDEMPOTENT) and not method.server_streaming
    ]


class DeadlineInterceptor(grpc.aio.UnaryUnaryClientInterceptor):
    """Gives every unary call that has no deadline the default one."""

    def __init__(self, seconds: float = DEADLINE_SECONDS) -> None:
        self._seconds = seconds

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        """Continue with a deadline."""
        if client_call_details.timeout is None:
            client_call_details = grpc.aio.ClientCallDetails(
                client_call_details.method,
                self._seconds,
                client_call_details.metadata,
                client_call_details.credentials,
                client_call_details.wait_for_ready,
            )
        return await continuation(client_call_details, request)


def open_channel(
    target: str, services: Sequence[Any] = (), *, deadline_seconds: float = DEADLINE_SECONDS
) -> grpc.aio.Channel:
    """An insecure channel to `target`; reading methods of the given service descriptors are retried."""
    options = channel_options(idempotent(services))
    return grpc.aio.insecure_channel(target, options=options, interceptors=[DeadlineInterceptor(deadline_seconds)])

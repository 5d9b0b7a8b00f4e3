"""The channel to the gateways: several replicas as one, keepalive, retries, a deadline on every call."""

from __future__ import annotations

import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor

from mistudio_client.errors import MistudioCallError

DEADLINE_SECONDS = 30.0
# Calls that may read a whole dataset, or take a model to pieces; a service gives them up on its own before this.
_LONG_DEADLINE_SECONDS = 90.0
_LONG_CALLS = (
    "ListSamples",
    "SearchTokens",
    "PreviewTokenization",
    "EstimateMemory",
    "GetModelArchitecture",
    "UnloadModel",
)

_KEEPALIVE_MS = 20_000
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_READING_VERBS = ("Get", "List", "Inspect", "Search", "Preview", "Estimate")

_Request = TypeVar("_Request")
_Response = TypeVar("_Response")


def open_channel(targets: Sequence[str], services: Sequence[ServiceDescriptor]) -> grpc.aio.Channel:
    """A channel over all `targets` (host:port), any of which may be away.

    Calls take turns among those that answer; the reading methods of `services` are retried on UNAVAILABLE.

    Raises:
        MistudioCallError: the host of one of several targets is not known.
    """
    interceptor = _UnaryCalls(", ".join(targets))
    return grpc.aio.insecure_channel(_address(targets), options=_options(services), interceptors=[interceptor])


def _address(targets: Sequence[str]) -> str:
    """One target for gRPC's name resolution. A single one stays a name, so that its replicas may come and go."""
    if len(targets) == 1:
        return targets[0]
    return "ipv4:" + ",".join(map(_numeric, targets))


def _numeric(target: str) -> str:
    host, _, port = target.rpartition(":")
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except socket.gaierror:
        text = f"The host of the gateway {target} is not known. Check its name."
        raise MistudioCallError(grpc.StatusCode.UNAVAILABLE, text) from None


def _options(services: Sequence[ServiceDescriptor]) -> list[tuple[str, str | int]]:
    return [
        ("grpc.service_config", json.dumps(_service_config(services))),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # A proxy for the web does not lead to a gateway, which is on this machine or in the same network.
        ("grpc.enable_http_proxy", 0),
    ]


def _service_config(services: Sequence[ServiceDescriptor]) -> dict[str, object]:
    retried = [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if method.name.startswith(_READING_VERBS)
    ]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": retried, "retryPolicy": policy}],
    }


class _UnaryCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Gives every unary call a deadline, and its failure the form of `MistudioCallError`."""

    def __init__(self, target: str) -> None:
        self._target = target

    async def intercept_unary_unary(
        self,
        continuation: Callable[
            [grpc.aio.ClientCallDetails, _Request], Awaitable[grpc.aio.UnaryUnaryCall[_Request, _Response]]
        ],
        client_call_details: grpc.aio.ClientCallDetails,
        request: _Request,
    ) -> _Response:
        """Await the call within its own or the default deadline."""
        if client_call_details.timeout is None:
            client_call_details = grpc.aio.ClientCallDetails(
                client_call_details.method,
                _deadline(client_call_details.method),
                client_call_details.metadata,
                client_call_details.credentials,
                client_call_details.wait_for_ready,
            )
        call = await continuation(client_call_details, request)
        try:
            return await call
        except grpc.aio.AioRpcError as failure:
            raise MistudioCallError.of(failure, self._target) from None


def _deadline(path: str | bytes) -> float:
    """Seconds that the call of a path `/package.Service/Method` may take unless it says so itself."""
    name = (path.decode() if isinstance(path, bytes) else path).rpartition("/")[2]
    return _LONG_DEADLINE_SECONDS if name in _LONG_CALLS else DEADLINE_SECONDS

"""What of a call's metadata and status goes from one side of the gateway to the other."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

import grpc

from mistudio_servicekit.interceptors import REQUEST_ID_KEY, Context
from mistudio_servicekit.logging import context_field
from mistudio_servicekit.status import DETAILS_KEY

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_HOP_BY_HOP = frozenset({"user-agent", "te", "content-type", "host", "connection", "server", "date"})


def kept(metadata: Any) -> Metadata:
    """The pairs of gRPC `metadata` that belong to the call rather than to one of its hops."""
    return tuple((key, value) for key, value in metadata or () if _is_kept(key))


def _is_kept(key: str) -> bool:
    return key == DETAILS_KEY or not (key in _HOP_BY_HOP or key.startswith((":", "grpc-")))


def request_metadata(context: Context) -> Metadata:
    """The client's metadata, and the call's id so that the backend's log lines carry the same one."""
    pairs = kept(context.invocation_metadata())
    if any(key == REQUEST_ID_KEY for key, _ in pairs):
        return pairs
    return (*pairs, (REQUEST_ID_KEY, context_field("request_id")))


def remaining_seconds(context: Context, default: float) -> float:
    """Seconds until the client's deadline, or `default` where it set none."""
    seconds: float | None = context.time_remaining()
    return default if seconds is None else seconds


def is_typed(error: grpc.aio.AioRpcError) -> bool:
    """Whether a service said this, with details; a bare status may be the channel's own word."""
    return any(key == DETAILS_KEY for key, _ in error.trailing_metadata() or ())


async def relay(error: grpc.aio.AioRpcError, context: Context) -> NoReturn:
    """End the call of `context` just as the backend's call has ended."""
    await context.abort(error.code(), error.details() or "", kept(error.trailing_metadata()))
    raise AssertionError("abort returns never")

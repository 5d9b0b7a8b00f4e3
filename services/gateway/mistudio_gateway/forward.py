"""Forwarding of domain calls as raw bytes: nothing is decoded, so a new domain RPC needs no change here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, NoReturn

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the stubs of grpc leave it out

from mistudio_gateway import metadata
from mistudio_gateway.backends import Backend, backend_of, forwarded_services
from mistudio_gateway.wire import UnaryMethod
from mistudio_servicekit.errors import TimedOut
from mistudio_servicekit.interceptors import Context

# A client that goes away in the middle of its stream shows as the stream's end first and as a cancellation after: at
# once, or some 10 ms later where all processors are busy.
_SETTLE_SECONDS = 0.05


class Forwarder(grpc.GenericRpcHandler):
    """Hands every call of a domain package to its backend: metadata, deadline, cancellation, details and all.

    Args:
        backends: the backends by name.
        unary_seconds: deadline of a unary call whose client set none.
    """

    def __init__(self, backends: Mapping[str, Backend], unary_seconds: float) -> None:
        self._backends, self._unary_seconds = backends, unary_seconds
        self._unary = frozenset(_unary_methods())
        self._handlers: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a forwarded method, known to the stubs or not; None for everything else."""
        method = handler_call_details.method
        if method not in self._unary:
            return self._build(method)
        if method not in self._handlers:
            self._handlers[method] = self._build(method)
        return self._handlers[method]

    def _build(self, method: str) -> Any:
        name = backend_of(method[1:])
        if name is None:
            return None
        route = _Route(self._backends[name], method, self._unary_seconds)
        if method in self._unary:
            return grpc.unary_unary_rpc_method_handler(route.unary)
        return grpc.stream_stream_rpc_method_handler(route.stream)


def _unary_methods() -> Iterable[str]:
    for service in forwarded_services():
        for method in service.methods:
            if not method.client_streaming and not method.server_streaming:
                yield f"/{service.full_name}/{method.name}"


class _Route:
    """The way of one method to its backend."""

    def __init__(self, backend: Backend, method: str, unary_seconds: float) -> None:
        self._backend, self._method, self._unary_seconds = backend, method, unary_seconds
        self._unary = UnaryMethod(backend.channel, method)
        # On the wire a call with one message is a stream of one, so this serves every cardinality.
        self._call_stream: Any = backend.channel.stream_stream(method)

    async def unary(self, request: bytes, context: Context) -> bytes:
        seconds = metadata.remaining_seconds(context, self._unary_seconds)
        try:
            answer = await self._unary.call(request, metadata.request_metadata(context), seconds)
        except grpc.aio.AioRpcError as error:
            await self._fail(error, context)
        await _send_initial(answer.initial, context)
        _set_trailing(answer.trailing, context)
        return answer.message

    async def stream(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        seconds = context.time_remaining()  # a stream may last for ever
        call = self._call_stream(timeout=seconds, metadata=metadata.request_metadata(context))
        pump = asyncio.create_task(_pump(requests, call))
        try:
            async for response in _after_initial(call, context):
                yield response
            _set_trailing(await call.trailing_metadata(), context)
        except grpc.aio.AioRpcError as error:
            await self._fail(error, context)
        finally:
            pump.cancel()
            call.cancel()

    async def _fail(self, error: grpc.aio.AioRpcError, context: Context) -> NoReturn:
        """End the call as the backend did; the channel's own statuses get a text of ours."""
        if not metadata.is_typed(error):
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise self._backend.unavailable() from error
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise self._timed_out() from error
        await metadata.relay(error, context)

    def _timed_out(self) -> TimedOut:
        return TimedOut(
            f"The {self._backend.name} service did not answer {self._method} in time",
            next_step="Try again, or set a later deadline",
            metadata={"backend": self._backend.name},
        )


async def _pump(requests: AsyncIterator[bytes], call: Any) -> None:
    """Write the client's messages to the backend, each when the one before has gone out.

    A backend may end the call while a message is on its way to it. `call.write` would then put a status of its own,
    INTERNAL, before the backend's (grpc issue 36066), so the messages go out by the call beneath it, which does not.
    """
    wire = call._cython_call
    try:
        await call.wait_for_connection()
        async for request in requests:
            await wire.send_serialized_message(request)
        await asyncio.sleep(_SETTLE_SECONDS)
        await wire.send_receive_close()
    except (cygrpc.InternalError, asyncio.InvalidStateError, grpc.aio.AioRpcError):
        return  # The backend has ended the call; its status reaches the client with the responses.


async def _after_initial(call: Any, context: Context) -> AsyncIterator[bytes]:
    """The responses of `call`, whose initial metadata goes ahead of the first."""
    sent = False
    async for response in call:
        if not sent:
            await _send_initial(await call.initial_metadata(), context)
            sent = True
        yield response


async def _send_initial(initial: Any, context: Context) -> None:
    pairs = metadata.kept(initial)
    if pairs:
        await context.send_initial_metadata(pairs)


def _set_trailing(trailing: Any, context: Context) -> None:
    pairs = metadata.kept(trailing)
    if pairs:
        context.set_trailing_metadata(pairs)

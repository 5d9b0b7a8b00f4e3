"""What surrounds every call of a server: typed errors, one log line, metrics."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn, TypeAlias

import grpc
import uuid_utils
from prometheus_client import Counter, Histogram

from mistudio_servicekit.errors import MistudioError
from mistudio_servicekit.logging import log_context
from mistudio_servicekit.status import DETAILS_KEY, status_code, status_proto
from mistudio_servicekit.translation import typed

log = logging.getLogger(__name__)

REQUEST_ID_KEY = "x-request-id"
_QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.")

calls_total = Counter("mistudio_grpc_calls_total", "Finished calls", ["method", "code"])
call_seconds = Histogram("mistudio_grpc_call_seconds", "Duration of calls", ["method"])

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


async def abort(context: Context, error: MistudioError) -> NoReturn:
    """End the call with the status and details of `error`."""
    details = status_proto(error).SerializeToString()
    said = context.trailing_metadata() or ()  # which abort would replace
    await context.abort(status_code(error), error.message, (*said, (DETAILS_KEY, details)))
    raise AssertionError("abort returns never")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Turns typed errors into statuses, logs each call on one line with its ids, and counts it."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wrap the method's handler; unknown methods stay UNIMPLEMENTED."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_QUIET):
            return handler
        return _wrapped(handler, method, _request_id(handler_call_details))


def _request_id(details: grpc.HandlerCallDetails) -> str:
    for key, value in details.invocation_metadata or ():
        if key == REQUEST_ID_KEY:
            return str(value)[:128]
    return str(uuid_utils.uuid7())


def _wrapped(handler: Any, method: str, call_id: str) -> Handler:
    async def unary(request: Any, context: Context) -> Any:
        async with _Call(method, call_id, context):
            behaviour = handler.unary_unary or handler.stream_unary
            return await behaviour(request, context)

    async def stream(request: Any, context: Context) -> None:
        async with _Call(method, call_id, context):
            behaviour = handler.unary_stream or handler.stream_stream
            responses = behaviour(request, context)
            if inspect.isawaitable(responses):
                await responses
                return
            # Closing ends the generator in this task, at once, also when the client goes away during a write.
            async with aclosing(responses):
                async for response in responses:
                    await context.write(response)

    make: dict[tuple[bool, bool], tuple[Any, Any]] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, unary),
        (True, False): (grpc.stream_unary_rpc_method_handler, unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, stream),
        (True, True): (grpc.stream_stream_rpc_method_handler, stream),
    }
    build, behaviour = make[(handler.request_streaming, handler.response_streaming)]
    wrapped: Handler = build(behaviour, handler.request_deserializer, handler.response_serializer)
    return wrapped


class _Call:
    """One call: its clock, its log line, and the mapping of its error."""

    def __init__(self, method: str, call_id: str, context: Context) -> None:
        self._method, self._context = method, context
        self._fields = log_context(method=method, request_id=call_id)
        self._start = time.perf_counter()

    async def __aenter__(self) -> None:
        self._fields.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            await self._finish(error)
        finally:
            self._fields.__exit__(None, None, None)

    async def _finish(self, error: BaseException | None) -> None:
        if error is None:
            self._count(grpc.StatusCode.OK)
        elif isinstance(error, grpc.aio.AbortError):
            self._count(self._context.code())
        elif isinstance(error, grpc.aio.InternalError):
            # The client went away while it was written to; the call's cancellation is on its way.
            self._count(grpc.StatusCode.CANCELLED)
            raise asyncio.CancelledError from error
        elif isinstance(error, Exception):
            known = typed(error)
            self._count(status_code(known), known.reason.value)
            await abort(self._context, known)
        else:
            self._count(grpc.StatusCode.CANCELLED)

    def _count(self, code: grpc.StatusCode, reason: str = "") -> None:
        """Count and log the end as soon as the answer is on its way: the client need not wait for that."""
        seconds = time.perf_counter() - self._start
        asyncio.get_running_loop().call_soon(_tell, self._method, code.name, seconds, reason)


def _tell(method: str, code: str, seconds: float, reason: str) -> None:
    calls_total.labels(method, code).inc()
    call_seconds.labels(method).observe(seconds)
    fields = {"code": code, "seconds": round(seconds, 4), **({"reason": reason} if reason else {})}
    log.info("call", extra=fields)

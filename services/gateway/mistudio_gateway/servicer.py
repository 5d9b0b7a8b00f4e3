"""JobsService at the gateway: which code answers which method."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from mistudio.jobs.v1 import jobs_service_pb2
from mistudio_gateway import metadata
from mistudio_gateway.backends import JOBS_SERVICE
from mistudio_gateway.eventlog import EventLog
from mistudio_gateway.history import list_job_events
from mistudio_gateway.jobs import Jobs
from mistudio_gateway.watching import Watching
from mistudio_servicekit.interceptors import Context

_FORWARDED = ("GetJob", "CancelJob", "RetryJob", "GetProgressHistory")


def jobs_handler(jobs: Jobs, watching: Watching, event_log: EventLog) -> grpc.GenericRpcHandler:
    """The handler of JobsService. Watches write bytes, so that one serialization serves many watchers."""

    async def list_jobs(request: jobs_service_pb2.ListJobsRequest, context: Context) -> Any:
        return await jobs.page(request, context)

    async def list_events(request: jobs_service_pb2.ListJobEventsRequest, context: Context) -> Any:
        answer = await list_job_events(event_log, request)
        if not answer.events and not request.page_token:
            await jobs.find(request.id)  # tells an unknown job from one without events
        return answer

    handlers: dict[str, Any] = {method: _unary(method, _to_owner(jobs, method)) for method in _FORWARDED}
    handlers["ListJobs"] = _unary("ListJobs", list_jobs)
    handlers["ListWorkers"] = _unary("ListWorkers", jobs.workers)
    handlers["ListJobEvents"] = _unary("ListJobEvents", list_events)
    handlers["WatchJob"] = _watch("WatchJob", watching.watch_job)
    handlers["WatchJobs"] = _watch("WatchJobs", watching.watch_jobs)
    return grpc.method_handlers_generic_handler(JOBS_SERVICE.full_name, handlers)


def _to_owner(jobs: Jobs, method: str) -> Callable[[Any, Context], Awaitable[Any]]:
    async def forward(request: Any, context: Context) -> Any:
        return await jobs.forward(method, request, context)

    return forward


def _unary(method: str, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Any:
    request, response = _message(f"{method}Request"), _message(f"{method}Response")
    return grpc.unary_unary_rpc_method_handler(_relaying(behaviour), request.FromString, response.SerializeToString)


def _watch(method: str, behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Any:
    return grpc.unary_stream_rpc_method_handler(_relaying(behaviour), _message(f"{method}Request").FromString)


def _message(name: str) -> Any:
    return getattr(jobs_service_pb2, name)


def _relaying(behaviour: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    """`behaviour`, with what a backend refuses with passed on whole."""

    async def call(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except grpc.aio.AioRpcError as error:
            await metadata.relay(error, context)

    return call

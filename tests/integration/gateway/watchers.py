"""What tests do with watch streams: read them, cut them, and compare what they told."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from mistudio.jobs.v1 import job_pb2
from mistudio_servicekit.status import DETAILS_KEY


def told(response: Any) -> str:
    """A response without its token, in short; empty for a bookmark."""
    body = response.WhichOneof("body")
    if body == "event":
        return told_event(response.event)
    if body == "snapshot":
        job = response.snapshot
        return f"{job.id[:8]} snapshot v{job.version} {job.attempt}@{job.progress.position}"
    return "" if body == "bookmark" else body


def told_event(event: job_pb2.JobEvent) -> str:
    """An event in short: the version of a state, the attempt and position of a progress."""
    if event.HasField("state_changed"):
        return f"{event.job_id[:8]} v{event.state_changed.version}"
    return f"{event.job_id[:8]} {event.attempt}@{event.progress.position}"


def history(responses: list[Any]) -> list[str]:
    """All that responses told, without bookmarks."""
    return [text for text in map(told, responses) if text]


async def taken(call: Any, most: int) -> list[Any]:
    """The next `most` responses, fewer if the stream ends; bookmarks count."""
    found: list[Any] = []
    while len(found) < most:
        response = await call.read()
        if response is grpc.aio.EOF:
            break
        found.append(response)
    return found


async def until_end(call: Any) -> list[Any]:
    """All responses of a stream that ends with OK."""
    found = await taken(call, 100_000)
    assert await call.code() is grpc.StatusCode.OK
    return found


async def failure(call: Any) -> tuple[list[Any], grpc.aio.AioRpcError]:
    """What a stream sent before it failed, and how it failed."""
    found: list[Any] = []
    try:
        while (response := await call.read()) is not grpc.aio.EOF:
            found.append(response)
    except grpc.aio.AioRpcError as error:
        return found, error
    raise AssertionError(f"the stream ended with OK after {history(found)}")


def info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    """The ErrorInfo of a failed call."""
    found = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(found):
                    return found
    raise AssertionError(f"no details in {error}")

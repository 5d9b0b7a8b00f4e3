"""Lists page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from mistudio.datasets.v1 import datasets_service_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import jobs_service_pb2
from mistudio.models.v2 import models_service_pb2

PAGE_SIZE = 500

Request = TypeVar("Request", bound=Message)
Page = TypeVar(
    "Page",
    datasets_service_pb2.ListDatasetsResponse,
    datasets_service_pb2.ListSamplesResponse,
    tokenizations_service_pb2.ListTokenizationsResponse,
    tokenizations_service_pb2.ListSequencesResponse,
    models_service_pb2.ListModelsResponse,
    jobs_service_pb2.ListJobsResponse,
    jobs_service_pb2.ListJobEventsResponse,
)


async def collect(call: Callable[[Request], Awaitable[Page]], request: Request, limit: int) -> Page:
    """The first `limit` things of a list, as one response.

    Args:
        call: gets a page; a server may put fewer things in it than it was asked for.
        request: what to list; without size and token of a page.
        limit: most things to get.
    """
    collected = await call(_paged(request, limit, ""))
    while (missing := limit - _size(collected)) > 0 and collected.next_page_token:
        page = await call(_paged(request, missing, collected.next_page_token))
        collected.ClearField("next_page_token")
        collected.MergeFrom(page)
    return collected


def _paged(request: Request, most: int, token: str) -> Request:
    paged = type(request)(page_size=min(most, PAGE_SIZE), page_token=token)
    paged.MergeFrom(request)
    return paged


def _size(response: Message) -> int:
    """How many things a response holds: they are its one repeated field."""
    things = next(field for field in response.DESCRIPTOR.fields if field.is_repeated)
    return len(getattr(response, things.name))

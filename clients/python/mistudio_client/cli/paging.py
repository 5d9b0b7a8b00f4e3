"""Lists page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message

from mistudio.datasets.v1 import datasets_service_pb2, exports_service_pb2, tokenizations_service_pb2
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
    tokenizations_service_pb2.SearchTokensResponse,
    exports_service_pb2.ListExportsResponse,
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
        _append(collected, await call(_paged(request, missing, collected.next_page_token)))
    return collected


def _append(collected: Message, page: Message) -> None:
    """Put the things of a page behind those that were collected; what else it tells holds for all of them."""
    _, *facts = _repeated(page)
    for name in ("next_page_token", *facts):
        collected.ClearField(name)
    collected.MergeFrom(page)


def _paged(request: Request, most: int, token: str) -> Request:
    paged = type(request)(page_size=min(most, PAGE_SIZE), page_token=token)
    paged.MergeFrom(request)
    return paged


def _size(response: Message) -> int:
    """How many things a response holds."""
    return len(getattr(response, _repeated(response)[0]))


def _repeated(response: Message) -> list[str]:
    """The repeated fields of a response, of which the first holds its things."""
    return [field.name for field in response.DESCRIPTOR.fields if field.is_repeated]

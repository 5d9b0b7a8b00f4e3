"""Lists page by page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from mistudio.datasets.v1 import datasets_service_pb2, tokenizations_service_pb2
from mistudio.jobs.v1 import jobs_service_pb2
from mistudio.models.v2 import models_service_pb2

PAGE_SIZE = 500

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


async def collect(fetch: Callable[[int, str], Awaitable[Page]], limit: int, size: Callable[[Page], int]) -> Page:
    """The first `limit` things of a list, as one response.

    Args:
        fetch: gets a page of at most a size, at a token.
        limit: most things to get.
        size: how many things a response holds; a server may put fewer in a page than it was asked for.
    """
    collected = await fetch(min(limit, PAGE_SIZE), "")
    while (missing := limit - size(collected)) > 0 and collected.next_page_token:
        page = await fetch(min(missing, PAGE_SIZE), collected.next_page_token)
        collected.ClearField("next_page_token")
        collected.MergeFrom(page)
    return collected

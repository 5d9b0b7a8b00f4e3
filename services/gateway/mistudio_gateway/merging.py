"""One list of jobs out of the lists of all backends, page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_gateway.backends import Backend
from mistudio_servicekit.errors import InvalidOrderBy, InvalidPageToken
from mistudio_servicekit.pagination import PageRequest, decode_token, encode_token

ListPage: TypeAlias = Callable[
    [Backend, jobs_service_pb2.ListJobsRequest], Awaitable[jobs_service_pb2.ListJobsResponse]
]
Key: TypeAlias = tuple[int, str]

_DESCENDING = {"": True, "created_at desc": True, "created_at": False, "created_at asc": False}


@dataclass(frozen=True)
class Place:
    """How far a list has been taken: the backend's page that holds the last taken job, and that job's key."""

    page_token: str = ""
    after: Key | None = None


class BackendList:
    """The jobs of one backend's list from a place on; pages are fetched as they are needed.

    Attributes:
        total: jobs in the whole list.
        place: behind the last job that was taken.
    """

    def __init__(self, fetch: Callable[[str], Awaitable[jobs_service_pb2.ListJobsResponse]], place: Place) -> None:
        self._fetch = fetch
        self._jobs: list[job_pb2.Job] = []
        self._fetched, self._next = place.page_token, ""
        self.place = place
        self.total = 0

    async def open(self, descending: bool) -> None:
        """Fetch the page with the place, and leave out what was taken of it."""
        answer = await self._fetch(self.place.page_token)
        self.total = answer.total_size
        after = self.place.after
        if after is None:
            self._jobs = list(answer.jobs)
        else:
            self._jobs = [job for job in answer.jobs if (key_of(job) < after if descending else key_of(job) > after)]
        self._next = answer.next_page_token

    async def peek(self) -> job_pb2.Job | None:
        """The next job, or None behind the last."""
        while not self._jobs and self._next:
            self._fetched = self._next
            answer = await self._fetch(self._fetched)
            self._jobs, self._next = list(answer.jobs), answer.next_page_token
        return self._jobs[0] if self._jobs else None

    def take(self) -> job_pb2.Job:
        """The job that `peek` has shown."""
        job = self._jobs.pop(0)
        self.place = Place(self._fetched, key_of(job))
        return job


def key_of(job: job_pb2.Job) -> Key:
    """What lists are ordered by: the time of submission in nanoseconds, then the id."""
    return job.create_time.ToNanoseconds(), job.id


async def merged_page(
    backends: Sequence[Backend], request: jobs_service_pb2.ListJobsRequest, list_page: ListPage
) -> jobs_service_pb2.ListJobsResponse:
    """The page of the merged list that `request` asks for.

    Raises:
        InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
        grpc.aio.AioRpcError: what a backend refuses with, or cannot be reached with.
    """
    size = PageRequest(page_size=request.page_size).size()
    descending = _is_descending(request.order_by)
    query = (request.filter, request.order_by, *(backend.name for backend in backends))
    lists = [
        BackendList(_fetcher(backend, request, size, list_page), place)
        for backend, place in zip(backends, _places(request.page_token, query, len(backends)), strict=True)
    ]
    await asyncio.gather(*(each.open(descending) for each in lists))
    jobs = [job async for job in _merge(lists, size, descending)]
    more = [each for each in lists if await each.peek() is not None]
    token = encode_token(query, [[each.place.page_token, each.place.after] for each in lists]) if more else ""
    total = sum(each.total for each in lists)
    return jobs_service_pb2.ListJobsResponse(jobs=jobs, next_page_token=token, total_size=total)


async def _merge(lists: Sequence[BackendList], most: int, descending: bool) -> AsyncIterator[job_pb2.Job]:
    """At most `most` jobs, always the foremost of what the lists show."""
    choose = max if descending else min
    for _ in range(most):
        shown = [(key_of(job), place) for place, each in enumerate(lists) if (job := await each.peek()) is not None]
        if not shown:
            return
        yield lists[choose(shown)[1]].take()


def _fetcher(
    backend: Backend, request: jobs_service_pb2.ListJobsRequest, size: int, list_page: ListPage
) -> Callable[[str], Awaitable[jobs_service_pb2.ListJobsResponse]]:
    def fetch(page_token: str) -> Awaitable[jobs_service_pb2.ListJobsResponse]:
        page = jobs_service_pb2.ListJobsRequest(
            page_size=size, page_token=page_token, filter=request.filter, order_by=request.order_by
        )
        return list_page(backend, page)

    return fetch


def _is_descending(order_by: str) -> bool:
    if order_by not in _DESCENDING:
        raise InvalidOrderBy(
            f"order_by is {order_by!r}",
            next_step="Use created_at, with `desc` if wished",
            field="order_by",
        )
    return _DESCENDING[order_by]


def _places(token: str, query: Sequence[str], count: int) -> list[Place]:
    """The place in each list that a page token names."""
    if not token:
        return [Place()] * count
    try:
        return [
            Place(str(page), (int(after[0]), str(after[1])) if after else None)
            for page, after in decode_token(token, query)
        ]
    except (ValueError, TypeError, IndexError):
        raise InvalidPageToken(
            f"page_token {token[:40]!r} is damaged",
            next_step="Give the next_page_token of the page before unchanged",
            field="page_token",
        ) from None

"""The jobs of every service as one: found wherever they live, listed together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc

from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_gateway import metadata
from mistudio_gateway.asking import AWAY, ask_owner
from mistudio_gateway.backends import Backend
from mistudio_gateway.merging import merged_page
from mistudio_gateway.selection import Selection
from mistudio_jobs.states import TERMINAL
from mistudio_servicekit.interceptors import Context
from mistudio_servicekit.pagination import MAX_PAGE
from mistudio_servicekit.requests import parse_id

_PASSED_TO_LISTS = frozenset({"kind", "resource_type", "resource_id"})
_ACTIVE = " AND ".join(sorted(f"state != {state}" for state in TERMINAL))


class Jobs:
    """All backends' jobs.

    Args:
        backends: the backends by name.
        unary_seconds: deadline of a question whose client set none.
    """

    def __init__(self, backends: Mapping[str, Backend], unary_seconds: float) -> None:
        self._backends, self._unary_seconds = backends, unary_seconds

    async def forward(self, method: str, request: Any, context: Context) -> Any:
        """Put a request with the `id` of a job to the service that owns the job.

        Raises:
            MissingField, MalformedId: the id is no UUID.
            JobNotFound, Unavailable, grpc.aio.AioRpcError: see `ask_owner`.
        """
        parse_id("id", request.id)
        seconds = metadata.remaining_seconds(context, self._unary_seconds)
        pairs = metadata.request_metadata(context)
        return await ask_owner(
            self._backends.values(),
            request.id,
            lambda backend: getattr(backend.jobs, method)(request, timeout=seconds, metadata=pairs),
        )

    async def find(self, job_id: str) -> job_pb2.Job:
        """One job as it is, without its attempts; see `ask_owner` for the errors."""
        request = jobs_service_pb2.GetJobRequest(id=job_id)
        answer = await ask_owner(
            self._backends.values(),
            job_id,
            lambda backend: backend.jobs.GetJob(request, timeout=self._unary_seconds),
        )
        answer.job.ClearField("attempts")
        return answer.job

    async def page(
        self, request: jobs_service_pb2.ListJobsRequest, context: Context
    ) -> jobs_service_pb2.ListJobsResponse:
        """A page of all services' jobs.

        Raises:
            InvalidArgument: the request is wrong.
            Unavailable: a backend cannot be reached; half a list is no list.
            grpc.aio.AioRpcError: what a backend refuses with.
        """
        seconds = metadata.remaining_seconds(context, self._unary_seconds)
        pairs = metadata.request_metadata(context)

        async def list_page(
            backend: Backend, page: jobs_service_pb2.ListJobsRequest
        ) -> jobs_service_pb2.ListJobsResponse:
            return await _listed(backend, page, seconds, pairs)

        return await merged_page(list(self._backends.values()), request, list_page)

    async def workers(
        self, request: jobs_service_pb2.ListWorkersRequest, context: Context
    ) -> jobs_service_pb2.ListWorkersResponse:
        """All services' workers, by service, pool and name.

        Raises:
            Unavailable: a backend cannot be reached; half a list is no list.
            grpc.aio.AioRpcError: what a backend refuses with.
        """
        seconds = metadata.remaining_seconds(context, self._unary_seconds)
        pairs = metadata.request_metadata(context)

        async def ask(backend: Backend) -> jobs_service_pb2.ListWorkersResponse:
            with _reaching(backend):
                return await backend.jobs.ListWorkers(request, timeout=seconds, metadata=pairs)

        answers = await asyncio.gather(*map(ask, self._backends.values()))
        workers = [worker for answer in answers for worker in answer.workers]
        workers.sort(key=lambda worker: (worker.service, worker.pool, worker.name))
        return jobs_service_pb2.ListWorkersResponse(workers=workers)

    async def active(self, selection: Selection) -> list[job_pb2.Job]:
        """All jobs of the selection that have not ended, those of one service after those of another.

        Raises:
            Unavailable: a backend cannot be reached.
        """
        jobs: list[job_pb2.Job] = []
        for backend in self._backends.values():
            token = ""
            while True:
                page = jobs_service_pb2.ListJobsRequest(
                    page_size=MAX_PAGE, page_token=token, filter=_active_filter(selection)
                )
                answer = await _listed(backend, page, self._unary_seconds, ())
                jobs += [job for job in answer.jobs if selection.matches(job)]
                token = answer.next_page_token
                if not token:
                    break
        return jobs


async def _listed(
    backend: Backend, page: jobs_service_pb2.ListJobsRequest, seconds: float | None, pairs: metadata.Metadata
) -> jobs_service_pb2.ListJobsResponse:
    with _reaching(backend):
        return await backend.jobs.ListJobs(page, timeout=seconds, metadata=pairs)


@contextmanager
def _reaching(backend: Backend) -> Iterator[None]:
    """Says which backend it is that cannot be reached."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        if error.code() in AWAY:
            raise backend.unavailable() from error
        raise


def _active_filter(selection: Selection) -> str:
    """The selection as far as the services' own lists can filter by it."""
    terms = [
        f'{term.field} {term.op} "{_quoted(term.value)}"' for term in selection.terms if term.field in _PASSED_TO_LISTS
    ]
    return " AND ".join([_ACTIVE, *terms])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')

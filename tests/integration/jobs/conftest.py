"""An engine at work, and its service."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from mistudio.jobs.v1 import jobs_service_pb2_grpc as pb_grpc
from mistudio_jobs.servicer import JobsServicer
from mistudio_jobs.testing import Stand
from mistudio_servicekit.interceptors import CallInterceptor
from tests.jobs_stand import jobs_database, jobs_template, stand, timing

__all__ = ["jobs", "jobs_database", "jobs_template", "stand", "timing"]


@pytest.fixture
async def jobs(stand: Stand) -> AsyncIterator[pb_grpc.JobsServiceAsyncStub]:
    """A stub of the service that serves the stand's jobs."""
    server = grpc.aio.server(interceptors=[CallInterceptor()])
    pb_grpc.add_JobsServiceServicer_to_server(JobsServicer(stand.engine), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.JobsServiceStub(channel)
    await server.stop(None)

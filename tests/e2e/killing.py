"""Processes killed as a crash of their machine would, and what is expected afterwards."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc
import psutil

from mistudio.datasets.v1 import datasets_service_pb2, datasets_service_pb2_grpc
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_local.stack import Stack
from tests.e2e.support import Product


def kill_worker(stack: Stack, name: str) -> None:
    """Kill a worker and its child as a crash of their machine would."""
    worker = psutil.Process(stack.process(name).pid)
    children = worker.children(recursive=True)
    worker.kill()
    for child in children:
        with suppress(psutil.NoSuchProcess):  # it dies with its worker
            child.kill()


async def kill_the_runner(product: Product, stack: Stack, job_id: str) -> None:
    """Kill the worker that runs the job's first attempt."""
    kill_worker(stack, (await product.job(job_id)).attempts[0].worker)


def assert_second_attempt_won(job: job_pb2.Job) -> None:
    """See that the job's first attempt was lost, and its second one made it."""
    assert (job.state, job.attempt) == (job_pb2.JOB_STATE_SUCCEEDED, 2)
    assert [attempt.outcome for attempt in job.attempts] == ["lost", "succeeded"]


async def settled(stack: Stack) -> None:
    """Wait until every gateway answers for both services again."""
    async with asyncio.timeout(100):
        for target in stack.gateway_targets:
            async with grpc.aio.insecure_channel(target) as channel:
                while not await _answers(channel):
                    await asyncio.sleep(0.1)


async def _answers(channel: grpc.aio.Channel) -> bool:
    jobs = jobs_service_pb2_grpc.JobsServiceStub(channel)
    datasets = datasets_service_pb2_grpc.DatasetsServiceStub(channel)
    try:
        await jobs.ListJobs(jobs_service_pb2.ListJobsRequest(page_size=1), wait_for_ready=True)
        await datasets.ListDatasets(datasets_service_pb2.ListDatasetsRequest(page_size=1))
    except grpc.aio.AioRpcError:
        return False
    return True

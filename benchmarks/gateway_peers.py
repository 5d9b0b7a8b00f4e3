"""The processes around the gateway in its benchmark: a domain service in small, and a worker that reports progress.

`python -m benchmarks.gateway_peers backend` prints its port; `… worker NATS_URL ROUNDS HZ JOB_ID…` publishes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any
from uuid import UUID

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mistudio.datasets.v1 import datasets_service_pb2
from mistudio.jobs.v1 import job_pb2, jobs_service_pb2
from mistudio_jobs.events import progress_subject
from mistudio_jobs.streams import connect
from mistudio_servicekit.config import Environment, ServerConfig
from mistudio_servicekit.interceptors import CallInterceptor
from mistudio_servicekit.server import server_options

SERVICE = "datasets"


async def _get_job(request: jobs_service_pb2.GetJobRequest, _: Any) -> jobs_service_pb2.GetJobResponse:
    """Every job runs, and has said nothing yet."""
    job = job_pb2.Job(id=request.id, service=SERVICE, state=job_pb2.JOB_STATE_RUNNING, version=2, attempt=1)
    return jobs_service_pb2.GetJobResponse(job=job)


async def _get_dataset(
    request: datasets_service_pb2.GetDatasetRequest, _: Any
) -> datasets_service_pb2.GetDatasetResponse:
    """Answers with the id it was asked for."""
    answer = datasets_service_pb2.GetDatasetResponse()
    answer.dataset.id = request.id
    return answer


_HANDLERS = (
    grpc.method_handlers_generic_handler(
        "mistudio.jobs.v1.JobsService",
        {
            "GetJob": grpc.unary_unary_rpc_method_handler(
                _get_job,
                jobs_service_pb2.GetJobRequest.FromString,
                jobs_service_pb2.GetJobResponse.SerializeToString,
            )
        },
    ),
    grpc.method_handlers_generic_handler(
        "mistudio.datasets.v1.DatasetsService",
        {
            "GetDataset": grpc.unary_unary_rpc_method_handler(
                _get_dataset,
                datasets_service_pb2.GetDatasetRequest.FromString,
                datasets_service_pb2.GetDatasetResponse.SerializeToString,
            )
        },
    ),
)


async def backend() -> None:
    """Serve until killed."""
    options = server_options(ServerConfig.read(Environment({}), port=0, metrics_port=0))
    server = grpc.aio.server(interceptors=[CallInterceptor()], options=options)
    states = health.aio.HealthServicer()
    server.add_generic_rpc_handlers(_HANDLERS)
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    await states.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def worker(nats_url: str, rounds: int, hertz: float, job_ids: list[str]) -> None:
    """Publish `rounds` reports of each job, `hertz` a second, spread evenly, each with the time of its sending."""
    client = await connect(nats_url, "bench-worker")
    js = client.jetstream()
    step, begun = 1 / hertz / len(job_ids), time.perf_counter()
    pending: set[asyncio.Task[Any]] = set()
    for number in range(rounds * len(job_ids)):
        await asyncio.sleep(max(0.0, begun + number * step - time.perf_counter()))
        job_id, position = job_ids[number % len(job_ids)], number // len(job_ids) + 1
        publishing = js.publish(progress_subject(SERVICE, UUID(job_id)), _progress(job_id, position))
        pending.add(task := asyncio.ensure_future(publishing))
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)
    await client.close()


def _progress(job_id: str, position: int) -> bytes:
    event = job_pb2.JobEvent(job_id=job_id, service=SERVICE, attempt=1, kind=f"{SERVICE}.tokenize")
    event.resource_type, event.resource_id = "tokenization", job_id
    event.progress.done, event.progress.total, event.progress.position = position, 1_000_000, position
    event.progress.unit, event.progress.stage = "rows", "tokenizing"
    event.time.FromNanoseconds(time.time_ns())
    return event.SerializeToString()


if __name__ == "__main__":
    if sys.argv[1] == "backend":
        asyncio.run(backend())
    else:
        asyncio.run(worker(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]))

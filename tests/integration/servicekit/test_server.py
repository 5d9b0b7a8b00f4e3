"""A served call keeps its promises on the wire: typed errors, health, reflection, metrics, an orderly end."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from mistudio.jobs.v1 import jobs_service_pb2, jobs_service_pb2_grpc
from mistudio_servicekit.channel import open_channel
from mistudio_servicekit.config import ServerConfig
from mistudio_servicekit.errors import HubRateLimited, InvalidArgument, JobNotCancellable, JobNotFound
from mistudio_servicekit.logging import JsonFormatter
from mistudio_servicekit.server import Server
from mistudio_servicekit.status import error_of_call

SERVICE = jobs_service_pb2.DESCRIPTOR.services_by_name["JobsService"]


class Jobs(jobs_service_pb2_grpc.JobsServiceServicer):
    """Answers each call with another outcome."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.entered = asyncio.Event()

    async def GetJob(self, request: Any, context: Any) -> Any:
        raise {
            "field": InvalidArgument("id is 'x'", next_step="Use a UUID", field="id"),
            "busy": HubRateLimited("The Hub is busy", next_step="Wait", retry_after_seconds=2.5),
            "state": JobNotCancellable("Job 1 has ended", next_step="Nothing to do", metadata={"subject": "jobs/1"}),
            "bug": KeyError("internal-detail"),
        }[request.id]

    async def ListJobs(self, request: Any, context: Any) -> Any:
        self.entered.set()
        await self.release.wait()
        return jobs_service_pb2.ListJobsResponse(total_size=7)

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield jobs_service_pb2.WatchJobResponse(resume_token="1")
        raise JobNotFound.of("j")


@pytest.fixture
async def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def down() -> set[str]:
    """Names of dependencies that are away."""
    return set()


@pytest.fixture
async def server(jobs: Jobs, down: set[str]) -> AsyncIterator[Server]:
    async def database() -> None:
        if "database" in down:
            raise ConnectionError

    server = Server(ServerConfig("127.0.0.1:0", "127.0.0.1:0"), [SERVICE.full_name], {"database": database})
    jobs_service_pb2_grpc.add_JobsServiceServicer_to_server(jobs, server.grpc)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(f"127.0.0.1:{server.port}", [SERVICE]) as channel:
        yield channel


async def failed(channel: grpc.aio.Channel, identifier: str) -> grpc.aio.AioRpcError:
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetJob(jobs_service_pb2.GetJobRequest(id=identifier))
    return caught.value


def detail(error: grpc.aio.AioRpcError, found: Message) -> Any:
    trailers = dict(error.trailing_metadata() or ())
    for packed in status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details:
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no {type(found).__name__}")


async def test_a_field_error_names_the_field(channel: grpc.aio.Channel) -> None:
    error = await failed(channel, "field")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "id is 'x'. Use a UUID."
    assert detail(error, error_details_pb2.BadRequest()).field_violations[0].field == "id"


async def test_a_passing_error_says_when_to_retry(channel: grpc.aio.Channel) -> None:
    error = await failed(channel, "busy")
    assert detail(error, error_details_pb2.RetryInfo()).retry_delay.ToTimedelta().total_seconds() == 2.5


async def test_a_forbidding_state_names_its_subject(channel: grpc.aio.Channel) -> None:
    error = await failed(channel, "state")
    assert detail(error, error_details_pb2.PreconditionFailure()).violations[0].subject == "jobs/1"


async def test_an_unexpected_error_shows_an_incident_id_that_the_log_has(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    error = await failed(channel, "bug")
    incident = detail(error, error_details_pb2.ErrorInfo()).metadata["incident_id"]
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "internal-detail" not in (error.details() or "")
    (line,) = [record for record in caplog.records if getattr(record, "incident_id", "") == incident]
    assert "internal-detail" in JsonFormatter("t").format(line)


async def test_a_stream_ends_with_its_typed_error(channel: grpc.aio.Channel) -> None:
    call = jobs_service_pb2_grpc.JobsServiceStub(channel).WatchJob(jobs_service_pb2.WatchJobRequest())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in call:
            assert response.resume_token == "1"
    assert error_of_call(caught.value).reason == "JOB_NOT_FOUND"


async def test_a_call_that_is_not_served_says_so(channel: grpc.aio.Channel) -> None:
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CancelJob(jobs_service_pb2.CancelJobRequest())
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_every_call_is_one_log_line_with_its_ids(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    formatted: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: formatted.append(json.loads(JsonFormatter("t").format(record)))  # type: ignore[method-assign]  # a one-line handler
    logging.getLogger("mistudio_servicekit.interceptors").addHandler(handler)
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.GetJob(jobs_service_pb2.GetJobRequest(id="field"), metadata=(("x-request-id", "abc"),))
    logging.getLogger("mistudio_servicekit.interceptors").removeHandler(handler)
    (line,) = [line for line in formatted if line["event"] == "call"]
    assert (line["request_id"], line["code"], line["reason"]) == ("abc", "INVALID_ARGUMENT", "INVALID_FIELD")
    assert line["method"] == "/mistudio.jobs.v1.JobsService/GetJob"


async def test_health_follows_the_dependencies(server: Server, channel: grpc.aio.Channel, down: set[str]) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    statuses = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE.full_name))
    serving = health_pb2.HealthCheckResponse.SERVING
    assert (await statuses.read()).status == serving
    down.add("database")
    assert (await statuses.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert (await stub.Check(health_pb2.HealthCheckRequest(service="liveness"))).status == serving
    url = f"http://127.0.0.1:{server.operations_port}"
    async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz") as answer:
        assert (answer.status, await answer.json()) == (503, {"problems": {"database": "ConnectionError"}})


async def test_metrics_count_calls_by_method_and_code(server: Server, channel: grpc.aio.Channel) -> None:
    await failed(channel, "field")
    url = f"http://127.0.0.1:{server.operations_port}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        text = await answer.text()
    assert 'mistudio_grpc_calls_total{code="INVALID_ARGUMENT",method="/mistudio.jobs.v1.JobsService/GetJob"}' in text


async def test_reflection_lists_the_service(channel: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await call.read()
    assert SERVICE.full_name in [service.name for service in answer.list_services_response.service]


async def test_a_stopping_server_finishes_running_calls(server: Server, channel: grpc.aio.Channel, jobs: Jobs) -> None:
    stub = jobs_service_pb2_grpc.JobsServiceStub(channel)
    running = asyncio.ensure_future(stub.ListJobs(jobs_service_pb2.ListJobsRequest()))
    await jobs.entered.wait()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    jobs.release.set()
    assert (await running).total_size == 7
    await stopping

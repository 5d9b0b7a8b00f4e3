"""Domain calls through the gateway: as if it were not there."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from mistudio.datasets.v1 import datasets_service_pb2 as pb
from mistudio.datasets.v1 import datasets_service_pb2_grpc
from mistudio.jobs.v1 import jobs_service_pb2 as jobs_pb
from mistudio.models.v2 import models_service_pb2, models_service_pb2_grpc
from mistudio_gateway.server import Gateway
from mistudio_servicekit.errors import HubRateLimited
from mistudio_servicekit.status import DETAILS_KEY, status_proto
from tests.integration.gateway.backend_double import FUTURE_SERVICE
from tests.integration.gateway.conftest import House
from tests.integration.gateway.watchers import info_of


@pytest.fixture
def datasets(house: House, gateway: Gateway) -> datasets_service_pb2_grpc.DatasetsServiceAsyncStub:
    return datasets_service_pb2_grpc.DatasetsServiceStub(house.channel(gateway))


async def test_a_call_reaches_the_service_of_its_package(house: House, gateway, datasets):
    models = models_service_pb2_grpc.ModelsServiceStub(house.channel(gateway))
    assert (await datasets.GetDataset(pb.GetDatasetRequest(id="one"))).dataset.id == "one"
    assert (await models.GetModel(models_service_pb2.GetModelRequest(id="two"))).model.id == "two"


async def test_metadata_goes_both_ways_but_not_that_of_the_hop(house: House, datasets):
    call = datasets.GetDataset(pb.GetDatasetRequest(), metadata=(("x-mine", "1"), ("x-raw-bin", b"\x00\xfe")))
    await call
    seen = house.datasets.datasets.metadata
    assert (seen["x-mine"], seen["x-raw-bin"]) == ("1", b"\x00\xfe")
    assert len(seen["x-request-id"]) == 36
    assert seen["user-agent"].count("grpc-python") == 1
    assert dict(await call.initial_metadata())["x-initial"] == "early"
    trailing = dict(await call.trailing_metadata())
    assert (trailing["x-trailing"], trailing["x-binary-bin"]) == ("late", b"\x00\xff")


async def test_the_clients_request_id_is_kept(house: House, datasets):
    await datasets.GetDataset(pb.GetDatasetRequest(), metadata=(("x-request-id", "mine"),))
    assert house.datasets.datasets.metadata["x-request-id"] == "mine"


async def test_the_deadline_is_handed_on_and_a_call_without_one_gets_the_default(house: House, datasets):
    await datasets.GetDataset(pb.GetDatasetRequest(), timeout=5)
    assert 3 < (house.datasets.datasets.remaining or 0) < 6
    await datasets.GetDataset(pb.GetDatasetRequest())
    assert 25 < (house.datasets.datasets.remaining or 0) < 31


async def test_an_error_survives_the_hop_whole(house: House, datasets):
    refusal = HubRateLimited("The Hub is busy", next_step="Wait", retry_after_seconds=7, metadata={"host": "hub"})
    house.datasets.datasets.refusal = refusal
    # A refusal that may pass is retried on the way; the client sees the last one.
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await datasets.GetDataset(pb.GetDatasetRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert refused.value.details() == refusal.message
    details = dict(refused.value.trailing_metadata())[DETAILS_KEY]
    assert details == status_proto(refusal).SerializeToString()


async def test_a_call_that_its_client_gives_up_is_given_up_by_the_service(house: House, datasets):
    double = house.datasets.datasets
    arrived = double.hold()
    call = datasets.GetDataset(pb.GetDatasetRequest())
    await arrived.wait()
    call.cancel()
    await asyncio.wait_for(double.cut.wait(), 30)


async def test_a_service_that_does_not_answer_in_time_is_named(house: House):
    hasty = house.channel(await house.gateway(unary_seconds=0.3))
    house.datasets.datasets.hold()
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await datasets_service_pb2_grpc.DatasetsServiceStub(hasty).GetDataset(pb.GetDatasetRequest())
    assert (late.value.code(), info_of(late.value).metadata["backend"]) == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "datasets",
    )
    await asyncio.wait_for(house.datasets.datasets.cut.wait(), 30)


async def test_a_crowd_of_calls_at_once_is_answered_to_the_last(jobs):
    async def refusal() -> grpc.StatusCode:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await jobs.GetJob(jobs_pb.GetJobRequest(id="no id"))
        return refused.value.code()

    codes = await asyncio.gather(*(refusal() for _ in range(2500)))
    assert set(codes) == {grpc.StatusCode.INVALID_ARGUMENT}


async def test_an_upload_streams_through(house: House, datasets):
    async def parts():
        yield pb.UploadDatasetRequest(header=pb.UploadHeader(file_name="a.txt"))
        for _ in range(64):
            yield pb.UploadDatasetRequest(chunk=b"x" * 1_000_000)

    answer = await datasets.UploadDataset(parts())
    assert answer.size_bytes == 64_000_000


async def test_an_upload_that_is_cut_off_never_looks_complete(house: House, datasets):
    double = house.datasets.datasets
    for way in ("cancel", "disconnect"):
        double.uploads.clear()
        channel = house.channel(await house.gateway())
        call = datasets_service_pb2_grpc.DatasetsServiceStub(channel).UploadDataset()
        await call.write(pb.UploadDatasetRequest(header=pb.UploadHeader(file_name="a.txt")))
        await call.write(pb.UploadDatasetRequest(chunk=b"x" * 1000))
        await double.wait_for_bytes(1000)
        if way == "cancel":
            call.cancel()
        else:
            await channel.close()
        await asyncio.wait_for(double.cut.wait(), 100)
        double.cut.clear()
        assert double.uploads == []


async def test_methods_that_no_stub_knows_are_forwarded_in_every_cardinality(house: House, gateway):
    channel = house.channel(gateway)

    def method(kind, name):
        return getattr(channel, kind)(f"/{FUTURE_SERVICE}/{name}")

    async def requests():
        for request in (b"a", b"b", b"c"):
            yield request

    assert await method("unary_unary", "Reverse")(b"abc") == b"cba"
    count = method("unary_stream", "Count")(b"3")
    assert [response async for response in count] == [b"0", b"1", b"2"]
    assert dict(await count.initial_metadata())["x-initial"] == "early"
    assert dict(await count.trailing_metadata())["x-trailing"] == "late"
    assert await method("stream_unary", "Join")(requests()) == b"a+b+c"
    echo = method("stream_stream", "Echo")()
    for request in (b"a", b"b"):
        await echo.write(request)
        assert await echo.read() == request.upper()
    await echo.write(b"fail")
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        async for _ in method("stream_stream", "Echo")(iter([b"fail"])):
            pass
    assert (failed.value.code(), info_of(failed.value).reason) == (
        grpc.StatusCode.FAILED_PRECONDITION,
        "DATASET_NOT_READY",
    )


async def test_a_method_that_the_service_does_not_know_is_unimplemented(house: House, gateway):
    channel = house.channel(gateway)
    for method in (f"/{FUTURE_SERVICE}/Nothing", "/mistudio.nowhere.v1.Service/Nothing"):
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            call: Any = channel.unary_unary(method)
            await call(b"")
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_service_that_ends_a_stream_while_it_is_written_to_gives_its_own_status(house: House, gateway):
    channel = house.channel(gateway)

    nothing: Any = channel.unary_unary(f"/{FUTURE_SERVICE}/Nothing")
    for _ in range(500):
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await nothing(b"x" * 10_000)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_service_that_is_away_is_named(house: House, datasets):
    await house.datasets.stop()
    with pytest.raises(grpc.aio.AioRpcError) as away:
        await datasets.GetDataset(pb.GetDatasetRequest())
    assert away.value.code() is grpc.StatusCode.UNAVAILABLE
    assert info_of(away.value).metadata["backend"] == "datasets"
    assert "datasets service" in (away.value.details() or "")

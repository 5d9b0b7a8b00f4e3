"""Every call of the API is there, behind every gateway."""

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from mistudio_gateway.backends import JOBS_SERVICE, forwarded_services
from mistudio_local.stack import Stack
from mistudio_servicekit.status import error_of_call
from tests.refusals import field_at_fault

METHODS = {
    f"{service.full_name}/{method.name}": method
    for service in [*forwarded_services(), JOBS_SERVICE]
    for method in service.methods
}


async def _answers(channel: grpc.aio.Channel, path: str, method: MethodDescriptor) -> object:
    """What the call says to an empty request, or the first of what it says."""
    request = GetMessageClass(method.input_type)()
    coders = (lambda message: message.SerializeToString(), GetMessageClass(method.output_type).FromString)
    if method.server_streaming:
        call = channel.unary_stream(f"/{path}", *coders)(request, timeout=100)
        first = await call.read()
        call.cancel()
        return first
    if method.client_streaming:
        return await channel.stream_unary(f"/{path}", *coders)(iter([request]), timeout=100)
    return await channel.unary_unary(f"/{path}", *coders)(request, timeout=100)


@pytest.mark.parametrize("path", METHODS)
async def test_a_call_answers_an_empty_request_or_names_the_field_that_it_lacks(stack: Stack, path: str) -> None:
    for target in stack.gateway_targets:
        async with grpc.aio.insecure_channel(target) as channel:
            try:
                assert await _answers(channel, path, METHODS[path]) is not None
            except grpc.aio.AioRpcError as refused:
                error = error_of_call(refused)
                assert (error.code, error.reason) in [
                    ("INVALID_ARGUMENT", "MISSING_FIELD"),
                    ("INVALID_ARGUMENT", "INVALID_FIELD"),
                ]
                assert error.next_step
                request = METHODS[path].input_type
                assert field_at_fault(refused).partition(".")[0] in {*request.fields_by_name, *request.oneofs_by_name}

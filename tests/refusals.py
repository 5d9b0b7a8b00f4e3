"""How calls are refused."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from mistudio_servicekit.errors import MistudioError
from mistudio_servicekit.status import error_of_call


async def refusal(call: Awaitable[object]) -> MistudioError:
    """The typed error of a call that must fail, with the field at fault if it names one."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = error_of_call(caught.value)
    error.field = field_at_fault(caught.value)
    return error


def field_at_fault(error: grpc.aio.AioRpcError) -> str:
    """The request's field that an error blames; empty if it blames none."""
    violations = BadRequest()
    status = rpc_status.from_call(cast(grpc.Call, error))  # it has all that is read of a Call
    for detail in status.details if status else ():
        if detail.Unpack(violations):
            return str(violations.field_violations[0].field)
    return ""

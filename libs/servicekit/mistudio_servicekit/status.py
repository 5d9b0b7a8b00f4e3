"""Typed errors as gRPC statuses with details: mapped here, once, in both directions."""

from __future__ import annotations

import math

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from mistudio_servicekit.errors import FailureClass, MistudioError, Reason

DOMAIN = "mistudio.dev"
DETAILS_KEY = "grpc-status-details-bin"


def status_proto(error: MistudioError) -> status_pb2.Status:
    """The status of `error`: ErrorInfo always; BadRequest, RetryInfo, PreconditionFailure where they apply."""
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=error.message)
    for detail in _details(error):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _details(error: MistudioError) -> list[Message]:
    found: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=error.metadata)
    ]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=error.message, reason=error.reason.value
        )
        found.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_seconds is not None:
        seconds = math.floor(error.retry_after_seconds)
        nanos = int((error.retry_after_seconds - seconds) * 1e9)
        found.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos)))
    if error.code == "FAILED_PRECONDITION":
        failed = error_details_pb2.PreconditionFailure.Violation(
            type=error.reason.value, subject=error.metadata.get("subject", ""), description=error.message
        )
        found.append(error_details_pb2.PreconditionFailure(violations=[failed]))
    return found


def status_code(error: MistudioError) -> grpc.StatusCode:
    """The gRPC status code of `error`."""
    return grpc.StatusCode[error.code]


def error_of_call(call_error: grpc.RpcError) -> MistudioError:
    """The typed error that a failed outgoing call carries; without one, what its bare status says."""
    code = getattr(call_error, "code", lambda: grpc.StatusCode.UNKNOWN)()
    info, text = _error_info(call_error), getattr(call_error, "details", lambda: "")() or code.name
    problem, _, next_step = text.removesuffix(".").rpartition(". ")
    error = MistudioError(problem or text, next_step=next_step if problem else "Try again", metadata=info.metadata)
    error.code = code.name
    error.reason = Reason(info.reason) if info.reason in Reason.__members__ else Reason.BACKEND_UNAVAILABLE
    error.failure = FailureClass.NETWORK if code is grpc.StatusCode.UNAVAILABLE else FailureClass.UNKNOWN
    error.transient = code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    return error


def _error_info(call_error: grpc.RpcError) -> error_details_pb2.ErrorInfo:
    found = error_details_pb2.ErrorInfo()
    trailers = getattr(call_error, "trailing_metadata", lambda: ())() or ()
    for key, value in trailers:
        if key == DETAILS_KEY:
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(found):
                    return found
    return found

"""Failed calls as Python exceptions, with everything that the service said about the cause."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_NEXT_STEPS = {
    grpc.StatusCode.UNAVAILABLE: "Start it (`make up`), or name another with --gateway or MISTUDIO_GATEWAY",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Try again, or look at the health of the gateway and its services",
    grpc.StatusCode.UNIMPLEMENTED: "Name the address of a gateway of this version",
}


@dataclass(frozen=True)
class ErrorDetails:
    """What a failed call carries beside its code and text.

    Attributes:
        reason: machine-readable cause, a name of `mistudio.errors.v1.ErrorReason` without its prefix; empty where the
            call did not reach a service.
        field: request field at fault in proto path form, or empty.
        metadata: further facts.
        retry_after: seconds after which a retry may help, or None.
    """

    reason: str = ""
    field: str = ""
    metadata: Mapping[str, str] = dataclass_field(default_factory=dict)
    retry_after: float | None = None


class MistudioCallError(Exception):
    """A call failed. Its text says what is wrong, with what value, and what to do next.

    Attributes:
        code: gRPC status.
        message: the text.
        reason: see `ErrorDetails`, as the following ones.
        field: request field at fault, or empty.
        metadata: further facts.
        retry_after: seconds after which a retry may help, or None.
    """

    def __init__(self, code: grpc.StatusCode, message: str, details: ErrorDetails | None = None) -> None:
        super().__init__(message)
        details = details or ErrorDetails()
        self.code = code
        self.message = message
        self.reason = details.reason
        self.field = details.field
        self.metadata = dict(details.metadata)
        self.retry_after = details.retry_after

    @classmethod
    def of(cls, failure: grpc.aio.AioRpcError, target: str) -> MistudioCallError:
        """The error that stands for `failure` of a call to `target`."""
        details = _details(failure)
        if not details.reason:
            return cls(failure.code(), _transport_text(failure, target))
        kind = _BY_REASON.get(details.reason, cls)
        return kind(failure.code(), failure.details() or failure.code().name, details)


class HistoryCompacted(MistudioCallError):
    """The event log no longer holds the position to resume from.

    `metadata["oldest_resume_token"]` is the first position it holds; a watch without a token starts from a snapshot.
    """


class LogReplaced(MistudioCallError):
    """The event log was lost and begun anew. Watch again without a token."""


_BY_REASON: Mapping[str, type[MistudioCallError]] = {
    "HISTORY_COMPACTED": HistoryCompacted,
    "LOG_REPLACED": LogReplaced,
}


def _transport_text(failure: grpc.aio.AioRpcError, target: str) -> str:
    """A text for a failure that no service has worded."""
    next_step = _NEXT_STEPS.get(failure.code(), "Try again")
    return f"The gateway {target} did not answer ({failure.code().name}: {failure.details()}). {next_step}."


def _details(failure: grpc.aio.AioRpcError) -> ErrorDetails:
    info, request, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in _status(failure).details:
        # Each fills itself where the detail is of its type.
        _ = detail.Unpack(info) or detail.Unpack(request) or detail.Unpack(retry)
    return ErrorDetails(
        reason=info.reason,
        field=request.field_violations[0].field if request.field_violations else "",
        metadata=dict(info.metadata),
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
    )


def _status(failure: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in failure.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break  # not ours: treated as a failure without details
    return status_pb2.Status()

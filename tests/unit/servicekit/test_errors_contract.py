"""The typed errors and the published protobuf enums say the same."""

import inspect

import grpc
import pytest
from google.rpc import error_details_pb2

from mistudio.errors.v1 import error_reason_pb2
from mistudio.jobs.v1 import job_pb2
from mistudio_servicekit import errors
from mistudio_servicekit.errors import FailureClass, MistudioError, Reason
from mistudio_servicekit.status import status_proto

CLASSES = [
    member
    for _, member in inspect.getmembers(errors, inspect.isclass)
    if issubclass(member, MistudioError) and member is not MistudioError
]


def test_every_reason_is_published_and_nothing_else() -> None:
    published = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118  # an enum wrapper, no dict
    assert published - {"UNSPECIFIED"} == {reason.value for reason in Reason}


def test_every_failure_class_is_published_and_nothing_else() -> None:
    published = {name.removeprefix("FAILURE_CLASS_") for name in job_pb2.FailureClass.keys()}  # noqa: SIM118  # an enum wrapper, no dict
    assert published - {"UNSPECIFIED"} == {failure.value for failure in FailureClass}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_keeps_everything_over_its_record(kind: type[MistudioError]) -> None:
    error = kind("X is 3", next_step="Use 4", field="x", retry_after_seconds=1.5, metadata={"a": "b"})
    again = MistudioError.from_record(error.to_record())
    assert again.to_record() == error.to_record()
    assert str(again) == "X is 3. Use 4."


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_becomes_a_status_with_its_reason(kind: type[MistudioError]) -> None:
    status = status_proto(kind("X is 3", next_step="Use 4"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (kind.reason.value, "mistudio.dev")
    assert status.code == grpc.StatusCode[kind.code].value[0]

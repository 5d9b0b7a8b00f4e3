"""The typed errors and the published protobuf enums say the same."""

import base64
import inspect
from urllib.parse import quote

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


@pytest.mark.parametrize("text", ["x" * 100_000, "🙂" * 100_000, "ä" * 99_999], ids=["x", "emoji", "umlauts"])
def test_an_error_about_a_text_of_any_length_fits_into_the_head_of_an_answer(text: str) -> None:
    error = errors.ResourceInUse(f"X is {text}", next_step=f"Use {text}", field="x", metadata={"value": text})
    assert error.problem.startswith(f"X is {text[:50]}")
    assert error.problem.endswith("…")
    assert MistudioError.from_record(error.to_record()).to_record() == error.to_record()
    details = base64.b64encode(status_proto(error).SerializeToString())
    assert len(quote(error.message)) + len(details) < 16 * 1024
    plain = errors.ResourceInUse(f"X is {'x' * 9999}", next_step="Use 4", field="x", metadata={"value": "x" * 9999})
    assert len(plain.message) + len(base64.b64encode(status_proto(plain).SerializeToString())) < 8 * 1024


def test_an_error_about_what_is_no_text_can_be_kept_everywhere() -> None:
    error = errors.UnsafePath("The name is \0 or \ud800", next_step="Use another", metadata={"name": "\0\ud800"})
    assert (error.problem, error.metadata) == ("The name is \\0 or \\ud800", {"name": "\\0\\ud800"})
    assert status_proto(error).message == error.message


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_an_error_becomes_a_status_with_its_reason(kind: type[MistudioError]) -> None:
    status = status_proto(kind("X is 3", next_step="Use 4"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (kind.reason.value, "mistudio.dev")
    assert status.code == grpc.StatusCode[kind.code].value[0]

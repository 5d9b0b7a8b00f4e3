"""Requests that cannot be right, and how each is refused: what the tests of all services share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from google.protobuf.message import Message

from mistudio_servicekit.database import new_id
from tests.refusals import refusal

UNKNOWN = str(new_id())
"""The id of nothing."""


@dataclass(frozen=True)
class Known:
    """What requests are about."""

    dataset: str
    model: str
    tokenization: str


@dataclass(frozen=True)
class Bad:
    """A request that cannot be right, and how it is refused."""

    request: Callable[[Known], Message]
    field: str
    reason: str = "INVALID_FIELD"
    code: str = "INVALID_ARGUMENT"

    @property
    def name(self) -> str:
        """Of the call."""
        return type(self.request(Known("", "", ""))).__name__.removesuffix("Request")


def not_found(request: Callable[[Known], Message], reason: str, at: str = "") -> Bad:
    return Bad(request, at, reason, "NOT_FOUND")


def malformed(request_type: Callable[..., Message], at: str = "id") -> Bad:
    return Bad(lambda known: request_type(**{at: "abc"}), at, "MALFORMED_ID")


def unknown(request_type: Callable[..., Message], reason: str, at: str = "id") -> Bad:
    return not_found(lambda known: request_type(**{at: UNKNOWN}), reason)


async def assert_refused(call: Awaitable[object], bad: Bad) -> None:
    """See that a call is refused as it must be, by its field, with a next step."""
    error = await refusal(call)
    told = (error.code, error.reason, error.field)
    assert told == (bad.code, bad.reason, bad.field), f"{told}: {error.message}"
    assert error.next_step != "Try again"
    assert len(error.next_step.split()) > 2, error.message

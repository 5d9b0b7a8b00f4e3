"""Faults that a mirror shows on demand, and its record of the requests it served: how tests measure a client."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatch
from typing import TypeVar


class Listener(StrEnum):
    """Which of the mirror's two listeners served a request."""

    HUB = "hub"
    CDN = "cdn"


@dataclass
class Refusal:
    """Answer requests with an error instead of content.

    Attributes:
        status: HTTP status, such as 429 or 503.
        times: how many requests are refused before all is well again; None for every one.
        retry_after: value of the `Retry-After` header, or None for none.
        path: pattern of the request paths it applies to.
        listener: the listener it applies to, or None for both.
    """

    status: int
    times: int | None = 1
    retry_after: str | None = None
    path: str = "*"
    listener: Listener | None = None


@dataclass
class Body:
    """Disturb the bodies of files.

    Attributes:
        times: how many responses are disturbed; None for every one.
        path: pattern of the request paths it applies to.
        cut_after: cut the connection after so many bytes of the body.
        stall_after: send no more after so many bytes of the body, and keep the connection open.
        corrupt_at: flip the byte at this offset in the file; only responses that hold it count.
        bytes_per_second: send no faster than this.
    """

    times: int | None = 1
    path: str = "*"
    cut_after: int | None = None
    stall_after: int | None = None
    corrupt_at: int | None = None
    bytes_per_second: int | None = None

    def touches(self, start: int, length: int) -> bool:
        """Whether a response with the file's bytes `start` to `start + length` is disturbed."""
        return self.corrupt_at is None or start <= self.corrupt_at < start + length


@dataclass
class RequestRecord:
    """One request that the mirror served."""

    listener: Listener
    method: str
    path: str
    byte_range: str
    authorized: bool
    status: int = 0
    bytes_sent: int = 0


@dataclass
class Faults:
    """The faults to show, changeable while the mirror runs, and the requests seen so far."""

    refusals: list[Refusal] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    requests: list[RequestRecord] = field(default_factory=list)

    def refusal(self, listener: Listener, path: str) -> Refusal | None:
        """The refusal that a request meets, if any; counts it as used."""
        for refusal in self.refusals:
            if refusal.listener in (None, listener) and _applies(refusal, path):
                return _use(refusal)
        return None

    def body(self, path: str, start: int, length: int) -> Body | None:
        """The disturbance that a response body meets, if any; counts it as used."""
        for body in self.bodies:
            if _applies(body, path) and body.touches(start, length):
                return _use(body)
        return None

    def clear(self) -> None:
        """Show no more faults."""
        self.refusals.clear()
        self.bodies.clear()

    def bytes_sent(self, path: str = "*") -> int:
        """Bytes of file bodies sent so far for request paths that match `path`."""
        return sum(record.bytes_sent for record in self.requests if fnmatch(record.path, path))


_Fault = TypeVar("_Fault", Refusal, Body)


def _applies(fault: Refusal | Body, path: str) -> bool:
    return (fault.times is None or fault.times > 0) and fnmatch(path, fault.path)


def _use(fault: _Fault) -> _Fault:
    if fault.times is not None:
        fault.times -= 1
    return fault

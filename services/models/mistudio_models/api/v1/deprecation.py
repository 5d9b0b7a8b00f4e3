"""What every answer of v1 says of its end, and every error: since when it is deprecated, and until when it is served.

Trailing metadata in the form of the HTTP fields of the same names: `deprecation` is a date of structured fields,
`@<seconds since 1970>` (RFC 9745, section 2.1), `sunset` an HTTP date (RFC 8594, section 3).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import wraps
from typing import TypeVar

from mistudio_servicekit.interceptors import Context

DEPRECATED_SINCE = datetime(2026, 11, 20, tzinfo=UTC)
SUNSET = datetime(2027, 6, 30, 23, 59, 59, tzinfo=UTC)

NOTICE = (
    ("deprecation", f"@{int(DEPRECATED_SINCE.timestamp())}"),
    ("sunset", format_datetime(SUNSET, usegmt=True)),
)
"""The trailing metadata."""

_Servicer = TypeVar("_Servicer")
_Request = TypeVar("_Request")
_Response = TypeVar("_Response")
_Method = Callable[[_Servicer, _Request, Context], Awaitable[_Response]]


def deprecated(
    method: _Method[_Servicer, _Request, _Response],
) -> _Method[_Servicer, _Request, _Response]:
    """A servicer's method that announces its end with every answer and every error."""

    @wraps(method)
    async def announcing(servicer: _Servicer, request: _Request, context: Context) -> _Response:
        context.set_trailing_metadata(NOTICE)
        return await method(servicer, request, context)

    return announcing

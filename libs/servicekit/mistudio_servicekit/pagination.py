"""Pages of lists: what a client asks for, what it gets, and the tokens that lead from one page to the next."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from mistudio_servicekit.errors import InvalidArgument, InvalidPageToken

Row = TypeVar("Row")
Other = TypeVar("Other")

DEFAULT_PAGE = 50
MAX_PAGE = 500


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A page of a list: its rows, the token of the next page (empty after the last), and how many rows match in all."""

    rows: Sequence[Row]
    next_page_token: str
    total_size: int

    def of(self, convert: Callable[[Row], Other]) -> Page[Other]:
        """The same page with every row converted."""
        return Page([convert(row) for row in self.rows], self.next_page_token, self.total_size)


@dataclass(frozen=True)
class PageRequest:
    """A page as a client asks for it; see `ListDatasetsRequest` for the meaning of each field.

    `skip` leaves rows out before the first: for calls that have no page tokens, since every row is read on the way.
    """

    page_size: int = 0
    page_token: str = ""
    search: str = ""
    filter: str = ""
    order_by: str = ""
    skip: int = 0

    def size(self, default: int = DEFAULT_PAGE, most: int = MAX_PAGE) -> int:
        """Rows to return.

        Raises:
            InvalidArgument: `page_size` is negative or more than `most`.
        """
        if not 0 <= self.page_size <= most:
            raise InvalidArgument(
                f"page_size is {self.page_size}",
                next_step=f"Use 1 to {most}, or 0 for {default}",
                field="page_size",
            )
        return self.page_size or default


def encode_token(query: Sequence[Any], position: Sequence[Any]) -> str:
    """An opaque token for `position`, bound to everything in `query`."""
    body = json.dumps([_fingerprint(query), *position], default=_plain).encode()
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def decode_token(token: str, query: Sequence[Any]) -> list[Any]:
    """The position in `token`.

    Raises:
        InvalidPageToken: it is damaged or was made for another query.
    """
    try:
        body = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        fingerprint, *position = body
    except (ValueError, TypeError):
        raise token_error(token, "is damaged") from None
    if fingerprint != _fingerprint(query):
        raise token_error(token, "belongs to another query")
    return list(position)


def offset_token(query: Sequence[Any], token: str, offset: int) -> int:
    """The row offset that `token` names, or `offset` without one."""
    if not token:
        return offset
    position = decode_token(token, query)
    if len(position) != 1 or not isinstance(position[0], int):
        raise token_error(token, "is damaged")
    return position[0]


def token_error(token: str, problem: str) -> InvalidPageToken:
    """The error for a token that has the `problem`, a clause like `is damaged`."""
    return InvalidPageToken(
        f"page_token {token[:40]!r} {problem}",
        next_step="Repeat the query that gave it unchanged, or leave it empty for the first page",
        field="page_token",
    )


def _fingerprint(query: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(list(query), default=str).encode()).hexdigest()[:16]


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@dataclass(frozen=True)
class Order:
    """A column that a list may be ordered by, and the Python type of its values."""

    column: Any
    type: type


def like_pattern(search: str) -> str:
    """`search` as a LIKE pattern that finds it anywhere; its own wildcards are taken literally."""
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

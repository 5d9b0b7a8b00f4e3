"""Keyset pages: stable under inserts, as fast on the last page as on the first."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_servicekit.errors import InvalidArgument, InvalidOrderBy, InvalidPageToken

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


async def page(
    session: AsyncSession,
    statement: Select[Row],
    request: PageRequest,
    *,
    wanted: Sequence[ColumnElement[bool]],
    orders: Mapping[str, Order],
    key: Any,
    default_order: str = "created_at desc",
) -> Page[Row]:
    """One keyset page of a table. Keys are chosen first, which an index may do alone, then their rows are read.

    Args:
        session: where to run it.
        statement: selects one entity, without conditions.
        request: the client's wishes.
        wanted: conditions that the rows fulfil.
        orders: allowed fields of `order_by`.
        key: unique column that settles ties.
        default_order: order without `order_by`.

    Raises:
        InvalidOrderBy, InvalidPageToken, InvalidArgument: as the client's wishes deserve.
    """
    order_by = request.order_by or default_order
    order, descending = _parse_order(order_by, orders)
    size = request.size()
    query = (request.search, request.filter, order_by)
    columns = (order.column, key)
    directed = [column.desc() if descending else column.asc() for column in columns]
    keys = select(key).where(*wanted).order_by(*directed).limit(size + 1).offset(request.skip or None)
    if request.page_token:
        keys = keys.where(_after(columns, _position(request.page_token, query, order), descending))
    chosen = keys.subquery()
    rows = (await session.scalars(statement.join(chosen, key == chosen.c[key.key]).order_by(*directed))).all()
    whole = len(rows) <= size and not request.page_token and not request.skip
    total = len(rows) if whole else await session.scalar(select(func.count(key)).where(*wanted))
    token = ""
    if len(rows) > size:
        rows = rows[:size]
        token = encode_token(query, [getattr(rows[-1], order.column.key), getattr(rows[-1], key.key)])
    return Page(rows, token, int(total or 0))


def _parse_order(order_by: str, orders: Mapping[str, Order]) -> tuple[Order, bool]:
    name, _, direction = order_by.strip().partition(" ")
    if name not in orders or direction.strip() not in ("", "asc", "desc"):
        raise InvalidOrderBy(
            f"order_by is {order_by!r}",
            next_step=f"Use one of {', '.join(sorted(orders))}, with `desc` if wished",
            field="order_by",
        )
    return orders[name], direction.strip() == "desc"


def _position(token: str, query: Sequence[Any], order: Order) -> tuple[Any, UUID]:
    try:
        value, identifier = decode_token(token, query)
        typed = datetime.fromisoformat(value) if order.type is datetime else order.type(value)
        return typed, UUID(identifier)
    except (ValueError, TypeError):
        raise token_error(token, "is damaged") from None


def _after(columns: tuple[Any, Any], position: tuple[Any, UUID], descending: bool) -> ColumnElement[bool]:
    left, right = tuple_(*columns), tuple_(*position)
    return left < right if descending else left > right


def like_pattern(search: str) -> str:
    """`search` as a LIKE pattern that finds it anywhere; its own wildcards are taken literally."""
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

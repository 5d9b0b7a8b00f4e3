"""Keyset pages of tables: stable under inserts, as fast on the last page as on the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_servicekit.errors import InvalidOrderBy
from mistudio_servicekit.pagination import Order, Page, PageRequest, decode_token, encode_token, token_error

Row = TypeVar("Row")


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
        converted = datetime.fromisoformat(value) if order.type is datetime else order.type(value)
        return converted, UUID(identifier)
    except (ValueError, TypeError):
        raise token_error(token, "is damaged") from None


def _after(columns: tuple[Any, Any], position: tuple[Any, UUID], descending: bool) -> ColumnElement[bool]:
    left, right = tuple_(*columns), tuple_(*position)
    return left < right if descending else left > right

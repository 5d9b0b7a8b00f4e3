"""Lists of rows: searched, filtered, ordered, and cut into pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm.interfaces import ORMOption

from mistudio_servicekit.database import Session
from mistudio_servicekit.filters import FieldParser, conditions, parse_filter
from mistudio_servicekit.keyset import page
from mistudio_servicekit.pagination import Order, Page, PageRequest, like_pattern
from mistudio_servicekit.requests import MAX_NAME, check_length

MAX_FILTER = 2048
"""Most characters of a filter."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Listing(Generic[Row]):
    """How the rows of a table are listed.

    Attributes:
        table: the mapped class; it has an `id`.
        filters: columns that a filter may name, with the parsers of their values; a JSON object takes `TextByKey`.
        orders: columns that a list may be ordered by; one is `created_at`.
        searched: lower-case text to search in; None where there is nothing to search.
        options: how the rows are loaded, where a list shows less of them than they hold.
    """

    table: type[Row]
    filters: Mapping[str, FieldParser]
    orders: Mapping[str, Order]
    searched: Any = None
    options: Sequence[ORMOption] = ()

    async def page(self, session: Session, request: PageRequest, *wanted: ColumnElement[bool]) -> Page[Row]:
        """The page that a client asks for, of the rows that fulfil all of `wanted`.

        Raises:
            InvalidFilter, InvalidOrderBy, InvalidPageToken, InvalidArgument: as the request deserves.
        """
        check_length("search", request.search, MAX_NAME)
        check_length("filter", request.filter, MAX_FILTER)
        table: Any = self.table  # a mapped class: its columns are attributes
        terms = parse_filter(request.filter, self.filters)
        columns = {name: getattr(table, name) for name in self.filters}
        every = [*wanted, *conditions(terms, columns)]
        if request.search and self.searched is not None:
            every.append(self.searched.like(func.lower(like_pattern(request.search))))
        rows = select(self.table).options(*self.options)
        return await page(session, rows, request, wanted=every, orders=self.orders, key=table.id)

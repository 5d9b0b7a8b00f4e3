"""Pages of lists that stay below what a message may have, whatever labels people gave to what is listed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from itertools import accumulate, takewhile
from typing import TypeVar

from mistudio_servicekit.pagination import Page, PageRequest

Row = TypeVar("Row")

LABEL_BYTES = 512 << 10
"""Most bytes of labels in a page: beside 500 of whatever is listed it leaves room in the 4 MiB that clients take."""

_FRAME_BYTES = 10
"""Most that stands in a message around the key and value of a label."""


async def page_with_labels(
    read: Callable[[PageRequest], Awaitable[Page[Row]]],
    request: PageRequest,
    labels_of: Callable[[Row], Mapping[str, str]],
) -> Page[Row]:
    """The page that `read` gives, with fewer rows where their labels have more than `LABEL_BYTES` together.

    One row it has at least, if there is one. It is read anew with as many rows as fit, so its token is theirs.
    """
    found = await read(request)
    while (fitting := _fitting(_size(labels_of(row)) for row in found.rows)) < len(found.rows):
        found = await read(replace(request, page_size=fitting))
    return found


def _fitting(sizes: Iterable[int]) -> int:
    """How many rows with labels of these sizes a page may have; one at least."""
    return max(1, sum(1 for _ in takewhile(lambda total: total <= LABEL_BYTES, accumulate(sizes))))


def _size(labels: Mapping[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) + _FRAME_BYTES for key, value in labels.items())

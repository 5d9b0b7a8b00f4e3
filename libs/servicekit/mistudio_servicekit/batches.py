"""Calls that name many resources, each of which is done or refused on its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from mistudio_servicekit.errors import InvalidArgument, MissingField, MistudioError
from mistudio_servicekit.requests import parse_id

MAX_BATCH = 1_000
"""Most resources that one call names."""


@dataclass(frozen=True)
class Refusal:
    """A resource that is left as it is: its id as it was given, and why."""

    id: str
    error: MistudioError


def parse_ids(ids: Sequence[str], nouns: str) -> Mapping[str, UUID | MistudioError]:
    """What each text of the field `ids` stands for, or why it is no id; an id that is given twice counts once.

    Args:
        ids: as they were given.
        nouns: what they name, for example `models`.

    Raises:
        MissingField, InvalidArgument: there are none, or more than `MAX_BATCH`.
    """
    if not ids:
        raise MissingField.of("ids", "0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e")
    if len(ids) > MAX_BATCH:
        raise InvalidArgument(
            f"ids names {len(ids):,} {nouns}", next_step=f"Name at most {MAX_BATCH:,} in one call", field="ids"
        )
    parsed: dict[str, UUID | MistudioError] = {}
    known: set[UUID] = set()
    for number, given in enumerate(ids):
        try:
            resource_id = parse_id(f"ids[{number}]", given)
        except InvalidArgument as error:
            parsed.setdefault(given, error)
            continue
        if resource_id not in known:
            parsed[given] = resource_id
            known.add(resource_id)
    return parsed

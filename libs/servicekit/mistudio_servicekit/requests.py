"""Checks of request fields that every service makes alike."""

from __future__ import annotations

import unicodedata
from uuid import UUID

from mistudio_servicekit.errors import Aborted, InvalidArgument, MalformedId, MissingField

MAX_REQUEST_ID = 128
MAX_NAME = 256
MAX_LABELS = 64


def parse_id(field: str, value: str) -> UUID:
    """The UUID in `value`, which must be in canonical text.

    Raises:
        MissingField: it is empty.
        MalformedId: it is anything else.
    """
    if not value:
        raise MissingField.of(field, "0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e")
    try:
        parsed = UUID(value)
    except ValueError:
        raise MalformedId.of(field, value) from None
    if str(parsed) != value.lower():
        raise MalformedId.of(field, value)
    return parsed


def check_length(field: str, value: str, most: int) -> str:
    """`value`, which must have at most `most` characters and no NUL."""
    if len(value) > most or "\0" in value:
        raise InvalidArgument(
            f"{field} has {len(value)} characters or a NUL character",
            next_step=f"Use at most {most} characters and no NUL",
            field=field,
        )
    return value


def check_line(field: str, value: str, most: int) -> str:
    """`value`, which must be one line: at most `most` characters, none of them a control character."""
    control = next((character for character in value if unicodedata.category(character) == "Cc"), None)
    if control is not None:
        raise InvalidArgument(
            f"{field} holds the control character {control!r}",
            next_step="Use one line of printable characters",
            field=field,
        )
    return check_length(field, value, most)


def check_request_id(value: str) -> str:
    """`value` as a request id of at most 128 characters; empty means none."""
    return check_length("request_id", value, MAX_REQUEST_ID)


def check_labels(field: str, labels: dict[str, str]) -> dict[str, str]:
    """`labels`: at most 64 pairs of a key and a value, which are one line each and have 256 characters together."""
    if len(labels) > MAX_LABELS:
        raise InvalidArgument(
            f"{field} has {len(labels)} labels", next_step=f"Use at most {MAX_LABELS} labels", field=field
        )
    for key, value in labels.items():
        if not key.strip():
            raise InvalidArgument(
                f"{field} holds {value[:40]!r} under a blank key", next_step="Give every label a key", field=field
            )
        check_line(f"{field}[{key[:40]!r}]", key + value, MAX_NAME)
    return labels


def etag_of(version: int) -> str:
    """The etag of a resource in its `version`, a number that grows with every change."""
    return f"v{version}"


def check_etag(given: str, current: str, what: str) -> None:
    """Raise `Aborted` if an etag is `given` and is not the `current` one of `what`."""
    if given and given != current:
        raise Aborted(
            f"{what} has changed: its etag is {current!r}, not {given!r}",
            next_step="Read it again and repeat the call",
            metadata={"etag": current},
        )

"""What a client may change of a resource by hand: its name and its labels, and what else a kind of resource has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from mistudio_servicekit.errors import InvalidArgument, MissingField
from mistudio_servicekit.requests import MAX_NAME, check_labels, check_line

_CHANGEABLE = ("name", "labels")


@dataclass(frozen=True)
class Change:
    """New values for a resource; `paths` tells which of them count.

    Attributes:
        resource: the request's field with the values, for example `dataset`.
        id: of the resource.
        paths: the paths of the request's update mask.
        name: for people.
        labels: of the user's own.
        etag: the one that the resource must have; empty takes any.
        others: what else of this kind of resource may be changed, by path; its own use case checks the values.
    """

    resource: str
    id: UUID
    paths: tuple[str, ...]
    name: str
    labels: Mapping[str, str]
    etag: str = ""
    others: Mapping[str, object] = field(default_factory=dict)

    def values(self) -> dict[str, object]:
        """The new values by path.

        Raises:
            MissingField: no path is given, or the name would be empty.
            InvalidArgument: a path cannot be changed, or a value is too long or holds control characters.
        """
        if not self.paths:
            raise MissingField.of("update_mask", "name")
        changeable = (*_CHANGEABLE, *self.others)
        unknown = next((path for path in self.paths if path not in changeable), None)
        if unknown is not None:
            raise InvalidArgument(
                f"update_mask names {unknown!r}, which cannot be changed",
                next_step=f"Name {' or '.join(changeable)}",
                field="update_mask",
            )
        return {path: self._value(path) for path in self.paths}

    def _value(self, path: str) -> object:
        if path in self.others:
            return self.others[path]
        named = f"{self.resource}.{path}"
        if path == "labels":
            return check_labels(named, dict(self.labels))
        if not self.name.strip():
            raise MissingField.of(named, "Second try")
        return check_line(named, self.name, MAX_NAME)

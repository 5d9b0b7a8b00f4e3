"""Which of a repository's files are brought in, and that none of them is a pickle without leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from mistudio_hub.formats import is_pickle
from mistudio_hub.repository import RepoFile
from mistudio_hub.snapshot import select_model_files
from mistudio_models.domain.models import selection_of
from mistudio_servicekit.errors import InvalidArgument, MissingField, PickleRefused, UnsafePath
from mistudio_servicekit.naming import first_of
from mistudio_servicekit.requests import MAX_NAME, check_line
from mistudio_servicekit.storage import require_inside

ALLOW_PATTERNS = "allow_patterns"
DENY_PATTERNS = "deny_patterns"
ALLOW_PICKLE = "allow_pickle"
"""Names of fields, of requests and of what their jobs work by."""
MAX_PATTERNS = 100
_NAMED_PICKLES = 3


@dataclass(frozen=True)
class FilePatterns:
    """Globs over paths in a repository, in which `*` also matches `/`.

    Attributes:
        allow: files that match one of these are taken; empty takes all that are needed.
        deny: files that match one of these are left out.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `MissingField` or `InvalidArgument` for what can be no pattern of paths in a repository."""
        _check(ALLOW_PATTERNS, self.allow)
        _check(DENY_PATTERNS, self.deny)

    @property
    def selection(self) -> str:
        """What tells these patterns from others, see `domain.models.selection_of`."""
        return selection_of(self.allow, self.deny)

    def choose(self, files: Sequence[RepoFile]) -> list[RepoFile]:
        """Those of `files` that are brought in.

        Raises:
            InvalidArgument: the patterns leave none.
        """
        return select_model_files(files, self.allow, self.deny) if files else []

    def to_json(self) -> dict[str, Any]:
        """These patterns, those that there are, as JSON-ready values."""
        said = {ALLOW_PATTERNS: list(self.allow), DENY_PATTERNS: list(self.deny)}
        return {name: patterns for name, patterns in said.items() if patterns}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The patterns that `to_json` described; other keys are none of theirs."""
        return cls(tuple(value.get(ALLOW_PATTERNS, ())), tuple(value.get(DENY_PATTERNS, ())))


EVERYTHING = FilePatterns()
"""All files that are needed."""


def _check(field: str, patterns: Sequence[str]) -> None:
    if len(patterns) > MAX_PATTERNS:
        raise InvalidArgument(
            f"{field} has {len(patterns)} patterns", next_step=f"Use at most {MAX_PATTERNS} patterns", field=field
        )
    for index, pattern in enumerate(patterns):
        named = f"{field}[{index}]"
        if not pattern.strip():
            raise MissingField.of(named, "*.safetensors")
        check_line(named, pattern, MAX_NAME)
        try:
            require_inside(pattern)
        except UnsafePath:
            raise InvalidArgument(
                f"{named} is {pattern!r}, which no path in a repository matches",
                next_step="Give a relative pattern without '..' and backslashes, for example '*.safetensors'",
                field=named,
                metadata={"value": pattern},
            ) from None


def require_no_pickles(files: Sequence[RepoFile], *, repo_id: str, requested: bool, permitted: bool) -> None:
    """Raise `PickleRefused` where pickles are among `files`, unless they are `requested`, and `permitted` besides.

    Args:
        files: that would be brought in.
        repo_id: their repository.
        requested: whether the request takes pickles.
        permitted: whether the operator allows them.
    """
    pickles = [file.path for file in files if is_pickle(file.path)]
    if not pickles or (requested and permitted):
        return
    missing = [] if requested else ["set allow_pickle in the request"]
    if not permitted:
        missing.append("have the operator set MISTUDIO_ALLOW_PICKLE to true")
    named = first_of([repr(path) for path in pickles], _NAMED_PICKLES)
    raise PickleRefused(
        f"The model repository {repo_id!r} would bring pickles, which can run code when they are read: {named}",
        next_step="Choose a revision with safetensors, or leave them out with deny_patterns; if you trust them, "
        + " and ".join(missing),
        field="" if requested else ALLOW_PICKLE,
        metadata={"id": repo_id, "pickles": str(len(pickles))},
    )

"""Which files of a repository are wanted, and how much they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]  # re-exported lazily

from mistudio_hub.formats import is_other_format, is_pickle, is_safetensors
from mistudio_hub.repository import RepoFile
from mistudio_servicekit.errors import InvalidArgument

_NAMED_PATTERNS = 3
# Some publishers add the same weights once more, under this name and in one file.
_CONSOLIDATED = "consolidated*.safetensors"


def select_files(files: Sequence[RepoFile], allow: Sequence[str] = (), deny: Sequence[str] = ()) -> list[RepoFile]:
    """The files that match a pattern of `allow` (all where it is empty) and none of `deny`.

    Patterns are globs over whole paths, in which `*` also matches `/`, as everywhere in the Hub's tools.

    Raises:
        InvalidArgument: no file is left.
    """
    kept = list(
        filter_repo_objects(
            files, allow_patterns=list(allow) or None, ignore_patterns=list(deny) or None, key=lambda file: file.path
        )
    )
    if not kept:
        raise InvalidArgument(
            f"None of the {len(files)} files {_what_is_asked(allow, deny)}",
            next_step="Widen the patterns, or choose another repository",
            field="allow_patterns" if allow else "deny_patterns",
        )
    return kept


def _what_is_asked(allow: Sequence[str], deny: Sequence[str]) -> str:
    asked = [f"matches {_named(allow)}"] if allow else []
    left = [f"is left without {_named(deny)}"] if deny else []
    return " and ".join([*asked, *left]) or "is there"


def _named(patterns: Sequence[str]) -> str:
    """The first of the patterns, and how many there are besides: an error must fit into the head of an answer."""
    more = f" and {len(patterns) - _NAMED_PATTERNS} more" if len(patterns) > _NAMED_PATTERNS else ""
    return f"{', '.join(map(repr, patterns[:_NAMED_PATTERNS]))}{more}"


def select_model_files(
    files: Sequence[RepoFile], allow: Sequence[str] = (), deny: Sequence[str] = ()
) -> list[RepoFile]:
    """`select_files`, less the weights in other formats where the repository has them as safetensors.

    What `allow` names is taken in any format.
    """
    if allow:
        return select_files(files, allow, deny)
    return select_files(_without_duplicates(files), deny=deny)


def total_bytes(files: Iterable[RepoFile]) -> int:
    """Size of all `files`, in bytes."""
    return sum(file.size for file in files)


def _without_duplicates(files: Sequence[RepoFile]) -> list[RepoFile]:
    safetensors = {file.path for file in files if is_safetensors(file.path)}
    consolidated = {path for path in safetensors if fnmatch(PurePosixPath(path).name, _CONSOLIDATED)}
    if not safetensors:
        return list(files)
    repeated = consolidated if safetensors - consolidated else set()
    return [
        file
        for file in files
        if not is_pickle(file.path) and not is_other_format(file.path) and file.path not in repeated
    ]

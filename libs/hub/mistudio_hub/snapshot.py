"""Which files of a repository are wanted, and how much they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]  # re-exported lazily

from mistudio_hub.repository import RepoFile
from mistudio_servicekit.errors import InvalidArgument

# The same weights again, in formats of other frameworks.
_OTHER_WEIGHT_SUFFIXES = frozenset(
    {".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".onnx_data", ".gguf", ".ggml", ".tflite", ".ot"}
    | {".mlmodel", ".mlpackage", ".pb", ".npz"}
)
_SAFETENSORS = "*.safetensors"
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
            f"None of the repository's {len(files)} files is left by the patterns {list(allow)} without {list(deny)}",
            next_step="Widen the patterns, or choose another repository",
            field="allow_patterns",
        )
    return kept


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
    safetensors = {file.path for file in files if fnmatch(file.path, _SAFETENSORS)}
    consolidated = {path for path in safetensors if fnmatch(PurePosixPath(path).name, _CONSOLIDATED)}
    if not safetensors:
        return list(files)
    repeated = consolidated if safetensors - consolidated else set()
    return [
        file
        for file in files
        if PurePosixPath(file.path).suffix not in _OTHER_WEIGHT_SUFFIXES and file.path not in repeated
    ]

"""Repositories of the Hub and their files, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # re-exported lazily

from mistudio_servicekit.errors import InvalidArgument

DEFAULT_ENDPOINT = "https://huggingface.co"
DEFAULT_REVISION = "main"


class RepoType(StrEnum):
    """A kind of repository."""

    MODEL = "model"
    DATASET = "dataset"


@dataclass(frozen=True)
class RepoInfo:
    """A repository at one commit.

    Attributes:
        repo_type: its kind.
        repo_id: `owner/name`, as the Hub spells it now (a renamed repository answers with its new name).
        commit: id of the commit that the asked revision named, 40 hex digits.
        gated: "auto" or "manual" where terms must be accepted, else empty.
        private: whether only some tokens may see it.
        tags: the Hub's tags, such as `license:mit`.
    """

    repo_type: RepoType
    repo_id: str
    commit: str
    gated: str = ""
    private: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class RepoFile:
    """A file of a repository.

    Attributes:
        path: posix path inside the repository.
        size: in bytes.
        git_sha1: git blob id: of the file, or of its pointer where `sha256` is set.
        sha256: of the bytes, for files in large-file storage (LFS); else None.
    """

    path: str
    size: int
    git_sha1: str
    sha256: str | None = None


@dataclass(frozen=True)
class RepoSource:
    """Where the files of one commit are fetched from, and with which token.

    Attributes:
        endpoint: address of the Hub or of a mirror.
        repo: the repository at its commit.
        token: secret that is sent to the endpoint alone, or None.
    """

    endpoint: str
    repo: RepoInfo
    token: str | None = field(default=None, repr=False)

    def url(self, path: str) -> str:
        """The address of the file at `path`."""
        prefix = "datasets/" if self.repo.repo_type is RepoType.DATASET else ""
        return f"{self.endpoint.rstrip('/')}/{prefix}{self.repo.repo_id}/resolve/{self.repo.commit}/{quote(path)}"


def require_repo_id(repo_id: str) -> None:
    """Raise `InvalidArgument` (field `repo_id`) unless `repo_id` has the form that the Hub gives its ids."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise InvalidArgument(
            f"repo_id is {repo_id!r}, which no repository can be called",
            next_step="Give owner/name of letters, digits, '-', '_' and '.', for example openai-community/gpt2",
            field="repo_id",
            metadata={"value": repo_id},
        ) from error

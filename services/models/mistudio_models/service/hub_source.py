"""What the Hub holds of a model, from its metadata and a few small reads; no weights are fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import DEFAULT_REVISION, RepoFile, RepoInfo, RepoType
from mistudio_hub.snapshot import select_model_files, total_bytes
from mistudio_models.domain.models import ModelFacts
from mistudio_models.engine.facts import model_facts
from mistudio_servicekit.errors import RepoGated


@dataclass(frozen=True)
class HubModel:
    """A model on the Hub.

    Attributes:
        repo: the repository at its commit.
        files: all its files; empty where the Hub does not show them.
        selected: the files that a download takes.
        access_problem: why the files may not be read, or None if they may.
        facts: what the model is; None where the files may not be read.
    """

    repo: RepoInfo
    files: tuple[RepoFile, ...]
    selected: tuple[RepoFile, ...]
    access_problem: RepoGated | None
    facts: ModelFacts | None

    @property
    def download_bytes(self) -> int:
        """Bytes that a download fetches."""
        return total_bytes(self.selected)


@dataclass(frozen=True)
class _HubFiles:
    """The files of one commit, read over the network."""

    client: HubClient
    repo: RepoInfo
    files: tuple[RepoFile, ...]

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file by its path."""
        return {file.path: file.size for file in self.files}

    def read(self, path: str, start: int, length: int) -> bytes:
        """A range of the file `path`."""
        return self.client.read_range(self.repo, path, start, length)


def find_on_hub(client: HubClient, repo_id: str, revision: str) -> HubModel:
    """The model `repo_id` at `revision` (empty: `main`).

    Raises:
        InvalidArgument, RepoNotFound, RevisionNotFound: there is no such repository or revision.
        HubTokenInvalid: the Hub does not know the client's token.
        MalformedFile: its configuration or weight headers do not parse.
        HubUnavailable, HubRateLimited: the Hub does not answer.
    """
    repo = client.repo_info(RepoType.MODEL, repo_id, revision or DEFAULT_REVISION)
    files, problem = client.visible_files(repo)
    selected = tuple(select_model_files(files)) if files else ()
    facts = None if problem else model_facts(_HubFiles(client, repo, selected))
    return HubModel(repo, files, selected, problem, facts)

"""What the Hub holds of a model, from its metadata and a few small reads; no weights are fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mistudio_hub.formats import is_safetensors
from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import DEFAULT_REVISION, RepoFile, RepoInfo, RepoType
from mistudio_hub.snapshot import total_bytes
from mistudio_models.domain.models import ModelFacts
from mistudio_models.engine.facts import model_facts
from mistudio_models.engine.headers import SHARD_INDEX
from mistudio_models.service.selection import EVERYTHING, FilePatterns
from mistudio_servicekit.errors import MissingField, RepoGated
from mistudio_servicekit.requests import MAX_NAME, check_length

EXAMPLE_REPO = "openai-community/gpt2"
MAX_HUB_TOKEN = 1024


@dataclass(frozen=True)
class HubModel:
    """A model on the Hub.

    Attributes:
        repo: the repository at its commit.
        files: all its files; empty where the Hub does not show them.
        selected: the files that a download takes.
        access_problem: why the files may not be read, or None if they may.
        facts: what the model is, by the files that a download takes; None where the files may not be read.
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
class HubFiles:
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


def check_source(repo_id: str, revision: str, hub_token: str) -> None:
    """Raise unless the three can name a repository's revision and a token; the Hub is not asked."""
    if not repo_id:
        raise MissingField.of("repo_id", EXAMPLE_REPO)
    check_length("repo_id", repo_id, MAX_NAME)
    check_length("revision", revision, MAX_NAME)
    check_length("hub_token", hub_token, MAX_HUB_TOKEN)


def find_on_hub(client: HubClient, repo_id: str, revision: str, patterns: FilePatterns = EVERYTHING) -> HubModel:
    """The model `repo_id` at `revision` (empty: `main`), as far as `patterns` choose of its files.

    Raises:
        InvalidArgument, RepoNotFound, RevisionNotFound: there is no such repository or revision, or no file is left.
        HubTokenInvalid: the Hub does not know the client's token.
        MalformedFile: its configuration or weight headers do not parse.
        HubUnavailable, HubRateLimited: the Hub does not answer.
    """
    repo = client.repo_info(RepoType.MODEL, repo_id, revision or DEFAULT_REVISION)
    files, problem = client.visible_files(repo)
    selected = tuple(patterns.choose(files))
    facts = None if problem else model_facts(HubFiles(client, repo, _described(files, selected, patterns)))
    return HubModel(repo, files, selected, problem, facts)


def _described(
    files: Sequence[RepoFile], selected: tuple[RepoFile, ...], patterns: FilePatterns
) -> tuple[RepoFile, ...]:
    """The files that tell what the selected ones make up: an index of weights tells nothing where some are left out."""
    weights = {file.path for file in files if is_safetensors(file.path)}
    if patterns == EVERYTHING or weights <= {file.path for file in selected}:
        return selected
    return tuple(file for file in selected if file.path != SHARD_INDEX)

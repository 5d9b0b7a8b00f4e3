"""What the Hub holds of a dataset, from its metadata alone: the commit, and the files of one configuration."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from mistudio_datasets.data.incoming.repository import CARD_FILES
from mistudio_datasets.data.incoming.source_plan import SourcePlan, plan_source
from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import DEFAULT_REVISION, RepoFile, RepoInfo, RepoType
from mistudio_hub.snapshot import total_bytes


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the Hub.

    Attributes:
        repo: the repository at its commit.
        plan: files of the asked configuration and splits.
        files: these files, with sizes and checksums.
    """

    repo: RepoInfo
    plan: SourcePlan
    files: tuple[RepoFile, ...]

    @property
    def download_bytes(self) -> int:
        """Bytes that a download fetches."""
        return total_bytes(self.files)


def find_on_hub(client: HubClient, repo_id: str, revision: str, config: str, splits: Sequence[str]) -> HubDataset:
    """The dataset `repo_id` at `revision` (empty: `main`), cut down to `config` and `splits` as `plan_source` does.

    Raises:
        InvalidArgument, RepoNotFound, RevisionNotFound: there is no such repository or revision.
        RepoGated, HubTokenInvalid: the client's token, or its absence, may not read the files.
        ConfigNotFound, SplitNotFound, MissingField, DatasetEmpty, UnsupportedFormat, MalformedFile, UnsafePath: as
            `plan_source` says.
        HubUnavailable, HubRateLimited: the Hub does not answer.
    """
    repo = client.repo_info(RepoType.DATASET, repo_id, revision or DEFAULT_REVISION)
    client.require_access(repo)
    tree = {file.path: file for file in client.tree(repo)}
    plan = plan_source(list(tree), read_cards(client, repo, tree), config, splits)
    return HubDataset(repo, plan, tuple(tree[name] for name in plan.files))


def read_cards(client: HubClient, repo: RepoInfo, names: Container[str]) -> dict[str, bytes]:
    """Contents of the card files that there are among `names`."""
    return {name: client.read_small_file(repo, name) for name in CARD_FILES if name in names}

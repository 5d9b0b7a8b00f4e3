"""What the Hub holds of a dataset, from its metadata alone: the commit, and the files of one configuration."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mistudio_datasets.data.source_plan import CARD_FILES, SourcePlan, plan_source
from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import DEFAULT_REVISION, RepoFile, RepoInfo, RepoType
from mistudio_hub.snapshot import total_bytes
from mistudio_servicekit.errors import HubUnavailable
from mistudio_servicekit.singleflight import SingleFlight

LOOKUP_SECONDS = 30.0


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

    @property
    def data_bytes(self) -> int:
        """Bytes of the files that hold rows."""
        data = {name for names in self.plan.splits.values() for name in names}
        return total_bytes([file for file in self.files if file.path in data])


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
    cards = {name: client.read_small_file(repo, name) for name in CARD_FILES if name in tree}
    plan = plan_source(list(tree), cards, config, splits)
    return HubDataset(repo, plan, tuple(tree[name] for name in plan.files))


class HubLookup:
    """Finds datasets on one Hub without blocking the event loop; equal questions at the same time are asked once.

    Args:
        endpoint: address of the Hub or of a mirror.
        seconds: longest wait for all answers of one lookup.
    """

    def __init__(self, endpoint: str, seconds: float = LOOKUP_SECONDS) -> None:
        self._endpoint, self._seconds = endpoint, seconds
        self._flights: SingleFlight[HubDataset] = SingleFlight()

    async def find(self, repo_id: str, revision: str, config: str, splits: tuple[str, ...], token: str) -> HubDataset:
        """`find_on_hub` with `token` (empty: none), whose answer is only shared by callers with the same token.

        Raises:
            HubUnavailable: the lookup took too long; and what `find_on_hub` raises.
        """
        question = (repo_id, revision, config, splits)
        try:
            async with asyncio.timeout(self._seconds):
                return await self._flights.do(
                    (*question, token), lambda: asyncio.to_thread(self._find, *question, token)
                )
        except TimeoutError:
            raise HubUnavailable(
                f"The Hub did not tell all about {repo_id!r} within {self._seconds:g} seconds",
                next_step="Try again later",
                field="repo_id",
            ) from None

    def _find(self, repo_id: str, revision: str, config: str, splits: tuple[str, ...], token: str) -> HubDataset:
        with HubClient(self._endpoint, token or None) as client:
            return find_on_hub(client, repo_id, revision, config, splits)

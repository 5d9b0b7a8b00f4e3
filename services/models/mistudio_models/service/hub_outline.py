"""A model on the Hub without its weights, as detailed as it takes to work out the memory that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import DEFAULT_REVISION, RepoInfo, RepoType
from mistudio_models.domain.models import WeightFiles
from mistudio_models.engine.facts import weight_format
from mistudio_models.engine.outline import Outline, read_outline
from mistudio_models.service.hub_source import HubFiles
from mistudio_models.service.selection import EVERYTHING


@dataclass(frozen=True)
class HubOutline:
    """The outline of a model on the Hub.

    Attributes:
        repo: the repository at its commit.
        outline: of the files that a download takes.
        weight_files: what its weights are kept in.
    """

    repo: RepoInfo
    outline: Outline
    weight_files: WeightFiles


def outline_on_hub(client: HubClient, repo_id: str, revision: str) -> HubOutline:
    """The outline of the model `repo_id` at `revision` (empty: `main`).

    Raises:
        InvalidArgument, RepoNotFound, RevisionNotFound: there is no such repository or revision, or it holds no file.
        RepoGated, HubTokenInvalid: the client's token may not read it, or the Hub does not know the token.
        MalformedFile: its configuration or weight headers do not parse.
        HubUnavailable, HubRateLimited: the Hub does not answer.
    """
    repo = client.repo_info(RepoType.MODEL, repo_id, revision or DEFAULT_REVISION)
    files, problem = client.visible_files(repo)
    if problem:
        raise problem
    selected = HubFiles(client, repo, tuple(EVERYTHING.choose(files)))
    return HubOutline(repo, read_outline(selected), weight_format(selected.sizes))

"""Inspecting a model on the Hub before it is brought in."""

from __future__ import annotations

from mistudio_models.service.hub_source import HubModel
from mistudio_models.service.selection import EVERYTHING
from mistudio_models.service.tools import Tools
from mistudio_servicekit.errors import MissingField
from mistudio_servicekit.requests import MAX_NAME, check_length

EXAMPLE_REPO = "openai-community/gpt2"
MAX_HUB_TOKEN = 1024


async def inspect(tools: Tools, repo_id: str, revision: str, hub_token: str) -> HubModel:
    """What the Hub says about a model, also where this token, or its absence, may not read the files.

    Raises:
        MissingField, InvalidArgument: the request can never be right.
        RepoNotFound, RevisionNotFound, HubTokenInvalid, MalformedFile, HubUnavailable, HubRateLimited: as the Hub
            answers.
    """
    check_source(repo_id, revision, hub_token)
    return await tools.hub.find(hub_token, repo_id, revision, EVERYTHING)


def check_source(repo_id: str, revision: str, hub_token: str) -> None:
    """Raise unless the three can name a repository's revision and a token; the Hub is not asked."""
    if not repo_id:
        raise MissingField.of("repo_id", EXAMPLE_REPO)
    check_length("repo_id", repo_id, MAX_NAME)
    check_length("revision", revision, MAX_NAME)
    check_length("hub_token", hub_token, MAX_HUB_TOKEN)

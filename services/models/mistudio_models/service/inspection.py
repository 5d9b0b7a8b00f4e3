"""Inspecting a model on the Hub before it is brought in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mistudio_models.service.hub_source import HubModel, check_source
from mistudio_models.service.loadability import Loadability, device_types_there, loadability
from mistudio_models.service.permissions import Source
from mistudio_models.service.selection import EVERYTHING
from mistudio_models.service.subjects import find_on_hub
from mistudio_models.service.tools import Tools
from mistudio_servicekit.errors import MistudioError


@dataclass(frozen=True)
class Inspection:
    """What is said of a model on the Hub.

    Attributes:
        found: what the Hub says.
        load_problems: why loading it would be refused as things are; none where the files may not be read.
    """

    found: HubModel
    load_problems: Sequence[MistudioError]


async def inspect(tools: Tools, repo_id: str, revision: str, hub_token: str) -> Inspection:
    """What is said of a model on the Hub, also where this token, or its absence, may not read the files.

    Raises:
        MissingField, InvalidArgument: the request can never be right.
        RepoNotFound, RevisionNotFound, HubTokenInvalid, MalformedFile, HubUnavailable, HubRateLimited: as the Hub
            answers.
        TimedOut, OutOfMemory, Unavailable: of files that are quantized already it could not be found out whether they
            can be loaded.
    """
    check_source(repo_id, revision, hub_token)
    found = await tools.hub.find(hub_token, repo_id, revision, EVERYTHING)
    return Inspection(found, await _load_problems(tools, found, hub_token))


async def _load_problems(tools: Tools, found: HubModel, hub_token: str) -> Sequence[MistudioError]:
    facts, repo = found.facts, found.repo
    if facts is None:
        return ()
    if not facts.quantization:
        source = Source.on_hub(repo.repo_id, facts.weight_files, needs_remote_code=facts.needs_remote_code)
        return Loadability(source, tools.policy).problems
    # Whether quantized files can be loaded takes a second look at what they say of themselves.
    model = await find_on_hub(tools, repo.repo_id, repo.commit, hub_token)
    return (await loadability(tools, model, await device_types_there(tools))).problems

"""Inspecting a dataset on the Hub before it is brought in: nothing of its data is fetched but Parquet footers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mistudio_datasets.data.incoming.parquet_footers import Footer
from mistudio_datasets.data.incoming.repository import Repository
from mistudio_datasets.data.incoming.source_plan import SourcePlan, SourcePlanner
from mistudio_datasets.domain.datasets import Column, DataFormat
from mistudio_datasets.domain.inspection import DatasetInspection, InspectedConfig, InspectedSplit
from mistudio_datasets.service.hub_footers import HubFooters
from mistudio_datasets.service.hub_source import read_cards
from mistudio_datasets.service.tools import Tools
from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import DEFAULT_REVISION, RepoFile, RepoInfo, RepoType
from mistudio_hub.snapshot import total_bytes
from mistudio_servicekit.errors import MissingField, MistudioError
from mistudio_servicekit.requests import MAX_NAME, check_length

MAX_HUB_TOKEN = 1024

_UNREADABLE = "default"
"""What `datasets` calls the configuration of a repository that names none."""


async def inspect(tools: Tools, repo_id: str, revision: str, hub_token: str) -> DatasetInspection:
    """What the Hub says about a dataset, also where this token, or its absence, may not read the files.

    Raises:
        MissingField, InvalidArgument: the request can never be right.
        RepoNotFound, RevisionNotFound, HubTokenInvalid, HubUnavailable, HubRateLimited: as the Hub answers.
    """
    if not repo_id:
        raise MissingField.of("repo_id", "HuggingFaceFW/fineweb")
    check_length("repo_id", repo_id, MAX_NAME)
    check_length("revision", revision, MAX_NAME)
    check_length("hub_token", hub_token, MAX_HUB_TOKEN)
    return await tools.inspections.find(hub_token, repo_id, revision)


def inspect_on_hub(client: HubClient, repo_id: str, revision: str) -> DatasetInspection:
    """The dataset `repo_id` at `revision` (empty: `main`); what a download would be refused for is told, not raised.

    Raises:
        InvalidArgument, RepoNotFound, RevisionNotFound: there is no such repository or revision.
        HubTokenInvalid: the Hub does not know the client's token.
        HubUnavailable, HubRateLimited: the Hub does not answer.
    """
    repo = client.repo_info(RepoType.DATASET, repo_id, revision or DEFAULT_REVISION)
    files, problem = client.visible_files(repo)
    configs, default = ((), "") if problem else _configs(client, repo, files)
    return DatasetInspection(
        repo_id=repo.repo_id,
        revision=revision or DEFAULT_REVISION,
        commit=repo.commit,
        gated=bool(repo.gated),
        private=repo.private,
        access_problem=problem.message if problem else "",
        default_config=default,
        configs=configs,
        repo_bytes=total_bytes(files),
    )


def _configs(client: HubClient, repo: RepoInfo, files: Sequence[RepoFile]) -> tuple[tuple[InspectedConfig, ...], str]:
    """Every configuration, and the name of the default one."""
    sizes = {file.path: file.size for file in files}
    try:
        planner = SourcePlanner(list(sizes), read_cards(client, repo, sizes))
    except MistudioError as error:
        if error.transient:
            raise
        return (InspectedConfig(_UNREADABLE, problem=error.message),), _UNREADABLE
    plans = {name: _plan(planner, name) for name in planner.repository.configs}
    readable = [plan for plan in plans.values() if isinstance(plan, SourcePlan)]
    footers = HubFooters(client, repo, sizes).read(_wanted(planner.repository, readable))
    configs = (
        _inspected(planner.repository, plan, sizes, footers)
        if isinstance(plan, SourcePlan)
        else InspectedConfig(name, problem=plan.message)
        for name, plan in plans.items()
    )
    return tuple(configs), planner.repository.default_config


def _plan(planner: SourcePlanner, config: str) -> SourcePlan | MistudioError:
    try:
        return planner.plan(config)
    except MistudioError as problem:
        return problem


def _wanted(repository: Repository, plans: Sequence[SourcePlan]) -> list[Sequence[str]]:
    """Files whose footers tell what the card does not: one for the columns of each configuration, then whole splits."""
    parquet = [plan for plan in plans if plan.format is DataFormat.PARQUET]
    columns = [_data_files(plan)[:1] for plan in parquet if not repository.columns_told(plan.config)]
    splits = [
        names
        for plan in parquet
        for split, names in plan.splits.items()
        if split not in repository.rows_told(plan.config)
    ]
    return [*columns, *sorted(splits, key=len)]


def _inspected(
    repository: Repository, plan: SourcePlan, sizes: Mapping[str, int], footers: Mapping[str, Footer]
) -> InspectedConfig:
    rows = repository.rows_told(plan.config)
    splits = (
        InspectedSplit(split, rows.get(split, _rows(names, footers)), len(names), sum(sizes[name] for name in names))
        for split, names in plan.splits.items()
    )
    return InspectedConfig(
        name=plan.config,
        format=plan.format,
        splits=tuple(splits),
        columns=repository.columns_told(plan.config) or _columns(plan, footers),
        download_bytes=sum(sizes[name] for name in plan.files),
    )


def _rows(names: Sequence[str], footers: Mapping[str, Footer]) -> int | None:
    """Rows in all the files, if every one's footer is known."""
    known = [footers[name].rows for name in names if name in footers]
    return sum(known) if len(known) == len(names) > 0 else None


def _columns(plan: SourcePlan, footers: Mapping[str, Footer]) -> tuple[Column, ...]:
    return next((footers[name].columns for name in _data_files(plan) if name in footers), ())


def _data_files(plan: SourcePlan) -> list[str]:
    return [name for names in plan.splits.values() for name in names]

"""Datasets and models by id, repository or name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from mistudio.datasets.v1 import dataset_pb2, datasets_service_pb2
from mistudio.models.v2 import model_pb2, models_service_pb2
from mistudio_client.cli.failures import CommandFailed
from mistudio_client.client import Client

Resource = TypeVar("Resource", dataset_pb2.Dataset, model_pb2.Model)

_MOST_CANDIDATES = 500


async def dataset_id(client: Client, reference: str) -> str:
    """The id of the dataset that `reference` names.

    Raises:
        CommandFailed: none has this repository or name, or several have.
    """
    if _is_id(reference):
        return reference
    request = datasets_service_pb2.ListDatasetsRequest(search=reference, page_size=_MOST_CANDIDATES)
    candidates = (await client.datasets.ListDatasets(request)).datasets
    found = _only("dataset", reference, candidates, dataset_pb2.DATASET_STATUS_READY)
    if found is None:
        raise _missing("dataset", reference)
    return found


async def model_id(client: Client, reference: str) -> str:
    """The id of the model that `reference` names.

    Raises:
        CommandFailed: none has this repository or name, or several have.
    """
    found = await model_id_here(client, reference)
    if found is None:
        raise _missing("model", reference)
    return found


async def model_id_here(client: Client, reference: str) -> str | None:
    """The id of the model that `reference` names; None where none has this repository or name.

    Raises:
        CommandFailed: several have.
    """
    if _is_id(reference):
        return reference
    request = models_service_pb2.ListModelsRequest(search=reference, page_size=_MOST_CANDIDATES)
    found = (await client.models.ListModels(request)).models
    return _only("model", reference, found, model_pb2.MODEL_STATUS_READY)


def _is_id(reference: str) -> bool:
    try:
        UUID(reference)
    except ValueError:
        return False
    return True


def _only(noun: str, reference: str, found: Sequence[Resource], ready: int) -> str | None:
    """The one that is meant, if there is one. Complete ones go before those that failed or were given up."""
    exact = [each for each in found if reference in (each.repo_id, each.name)]
    candidates = [each for each in exact if each.status == ready] or exact
    if not candidates:
        return None
    if len(candidates) > 1:
        ids = ", ".join(each.id for each in candidates)
        raise CommandFailed(f"{reference!r} names {len(candidates)} {noun}s: {ids}. Give one of these ids.")
    return candidates[0].id


def _missing(noun: str, reference: str) -> CommandFailed:
    return CommandFailed(f"There is no {noun} {reference!r}. `mistudio {noun}s list` shows which there are.")

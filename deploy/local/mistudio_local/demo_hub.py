"""Where the demo's repositories come from: the Hub where it can be reached, otherwise the mirror that ships with us."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import DEFAULT_ENDPOINT, RepoType
from mistudio_local.hub_mirror.shelf import DATASET_ID, MODEL_ID
from mistudio_servicekit.errors import HubUnavailable, NotFound, RepoGated

# A small dataset of English texts that is on the Hub; the mirror's own one is not.
HUB_DATASET_ID = "cornell-movie-review-data/rotten_tomatoes"

_ENDPOINT_VARIABLES = ("MISTUDIO_HUB_ENDPOINT", "HF_ENDPOINT")
_PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Origin:
    """Where the demo gets what.

    Attributes:
        endpoint: the Hub's address, or None for the mirror of the embedded stack.
        model: repository of the model.
        dataset: repository of the dataset.
    """

    endpoint: str | None
    model: str
    dataset: str


def find_origin(model: str, dataset: str, environ: Mapping[str, str] = os.environ) -> Origin:
    """The Hub if it answers, otherwise the mirror; with its own repositories where `model` or `dataset` is empty.

    Raises:
        InvalidArgument: `model` is no repository id.
    """
    endpoint = next((environ[name] for name in _ENDPOINT_VARIABLES if environ.get(name)), DEFAULT_ENDPOINT)
    if _answers(endpoint, model or MODEL_ID):
        return Origin(endpoint, model or MODEL_ID, dataset or HUB_DATASET_ID)
    return Origin(None, model or MODEL_ID, dataset or DATASET_ID)


def _answers(endpoint: str, model: str) -> bool:
    """Whether a Hub is there: it knows the model, or knows that there is none. Proxies refuse in other ways."""
    try:
        with HubClient(endpoint, timeout_seconds=_PATIENCE_SECONDS) as hub:
            hub.repo_info(RepoType.MODEL, model)
    except NotFound:
        return True
    except (HubUnavailable, RepoGated):
        return False
    return True

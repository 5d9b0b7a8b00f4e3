"""The models that are examined: here, or on the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from mistudio_models.domain.models import Model
from mistudio_models.domain.weights import LoadSettings
from mistudio_models.engine.dialects import LanguageConfig
from mistudio_models.engine.facts import needs_remote_code
from mistudio_models.service.examiner import Subject
from mistudio_models.service.hub_source import check_source
from mistudio_models.service.permissions import Source
from mistudio_models.service.readiness import require_ready
from mistudio_models.service.tools import Tools
from mistudio_models.store import models
from mistudio_servicekit.storage import Area


@dataclass(frozen=True)
class Found:
    """A model to examine, and what must be known of it before.

    Attributes:
        subject: the model for the child process.
        source: what decides whether it may be loaded.
        model_type: of its configuration, such as `llama`; empty where it says none.
        context_length: longest context, tokens; 0 where it is not said.
        parameters_by_dtype: as its files have them.
        quantization: how its files' own weights are quantized; empty where they are not.
        default_settings: how it is loaded where a request does not say.
        model_id: the model, where it is here.
    """

    subject: Subject
    source: Source
    model_type: str
    context_length: int
    parameters_by_dtype: Mapping[str, int]
    quantization: str = ""
    default_settings: LoadSettings = field(default_factory=LoadSettings)
    model_id: UUID | None = None


async def find_here(tools: Tools, model_id: UUID) -> Found:
    """A model that is here.

    Raises:
        ModelNotFound: no model has this id.
        ModelNotReady: its files are not complete.
    """
    async with tools.database.transaction() as session:
        model = require_ready(await models.get(session, model_id))
    return Found(
        subject=subject_of(tools, model),
        source=Source.here(model),
        model_type=model.facts.model_type,
        context_length=model.facts.context_length,
        parameters_by_dtype=model.facts.parameters_by_dtype,
        quantization=model.facts.quantization,
        default_settings=model.default_settings,
        model_id=model.id,
    )


async def find_on_hub(tools: Tools, repo_id: str, revision: str, hub_token: str) -> Found:
    """A model on the Hub.

    Raises:
        MissingField, InvalidArgument: the request can never be right.
        RepoNotFound, RevisionNotFound, RepoGated, HubTokenInvalid, MalformedFile, HubUnavailable, HubRateLimited: as
            the Hub answers.
    """
    check_source(repo_id, revision, hub_token)
    found = await tools.outlines.find(hub_token, repo_id, revision)
    repo, outline = found.repo, found.outline
    own_code = needs_remote_code(outline.config)
    return Found(
        subject=Subject(("hub", repo.repo_id, repo.commit), {"outline": outline.to_json()}),
        source=Source.on_hub(repo.repo_id, found.weight_files, needs_remote_code=own_code),
        model_type=outline.model_type,
        context_length=LanguageConfig(outline.config).context_length,
        parameters_by_dtype=outline.parameters_by_dtype,
        quantization=outline.quantization,
    )


def subject_of(tools: Tools, model: Model) -> Subject:
    """A model whose files are complete, for the child process."""
    folder = tools.store.epoch(Area.MODELS, model.id, model.epoch)
    return Subject(("model", str(model.id), str(model.epoch)), {"folder": str(folder)})

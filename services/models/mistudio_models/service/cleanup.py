"""What a cleanup job is told to remove."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

_MODELS = "models"


def cleanup_payload(model_ids: Iterable[UUID]) -> dict[str, Any]:
    """Tells a cleanup job to remove the folders of these models."""
    return {_MODELS: [str(model_id) for model_id in model_ids]}


def models_of(payload: Mapping[str, Any], resource_id: UUID) -> Sequence[UUID]:
    """The models whose folders a payload names; that of an earlier release's job names none, but its resource."""
    return [UUID(model_id) for model_id in payload.get(_MODELS, [str(resource_id)])]

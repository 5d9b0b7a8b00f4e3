"""What a cleanup job is told to remove."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from mistudio_datasets.domain.uploads import UPLOAD_EPOCH
from mistudio_servicekit.storage import Area, Store

_EVERY_EPOCH = -1


def cleanup_payload(resources: Iterable[tuple[Area, UUID]]) -> dict[str, Any]:
    """Tells a cleanup job to remove the folders of these resources, with every epoch."""
    return {"folders": [[area.value, str(resource_id), _EVERY_EPOCH] for area, resource_id in resources]}


def upload_cleanup_payload(dataset_id: UUID) -> dict[str, Any]:
    """Tells a cleanup job to remove an upload as it came, and to leave what was made of it."""
    return {"folders": [[Area.DATASETS.value, str(dataset_id), UPLOAD_EPOCH]]}


def folders_of(payload: Mapping[str, Any], store: Store) -> Iterator[Path]:
    """The folders that a payload names."""
    for area, resource_id, epoch in payload["folders"]:
        if epoch == _EVERY_EPOCH:
            yield store.resource(Area(area), UUID(resource_id))
        else:
            yield store.epoch(Area(area), UUID(resource_id), epoch)

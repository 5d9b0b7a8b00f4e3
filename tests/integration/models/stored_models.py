"""Tiny real models in a service's store, as downloads would leave them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from mistudio_models.engine.facts import model_facts
from mistudio_models.engine.folder import FolderSource
from mistudio_servicekit.storage import Area, Store
from tests.model_families import make_model

from .made_models import MadeModels


@dataclass(frozen=True)
class StoredModels:
    """Puts models into a service's store and database."""

    made: MadeModels
    store: Store

    def put(self, family: str = "llama", **config_changes: Any) -> str:
        """A model of the family, READY; its id."""
        (model_id,) = self.made.put()
        make_model(family, self.folder(model_id), **config_changes)
        self.read_facts(model_id)
        return model_id

    def put_config(self, config: dict[str, Any]) -> str:
        """A model that is READY and has a configuration only; its id."""
        (model_id,) = self.made.put()
        self.folder(model_id).mkdir(parents=True)
        (self.folder(model_id) / "config.json").write_text(json.dumps(config))
        self.read_facts(model_id)
        return model_id

    def folder(self, model_id: str) -> Path:
        """Where the model's files are."""
        return self.store.epoch(Area.MODELS, UUID(model_id), 1)

    def read_facts(self, model_id: str) -> None:
        """Note what the model is, as its download would have."""
        facts = json.dumps(model_facts(FolderSource(self.folder(model_id))).to_json())
        self.made.execute(
            "UPDATE models SET facts = %(facts)s::jsonb WHERE id = %(id)s", {"facts": facts, "id": model_id}
        )

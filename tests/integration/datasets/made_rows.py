"""Rows as jobs would leave them, made by hand where a test needs many of them, or some of a certain size."""

from __future__ import annotations

import json
from typing import Any

from mistudio_datasets.domain.views import View, ViewMode
from mistudio_datasets.store import SCHEMA
from mistudio_local.testing import Database
from mistudio_servicekit.database import new_id

_VIEW = json.dumps(View(ViewMode.PACKED, 128).to_json())
_COMMON = "epoch, error, version"
_COMMON_VALUES = "1, NULL, 1"


class Rows:
    """Inserts rows into a service's database.

    Args:
        database: the database, migrated.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a statement gives."""
        return self._database.execute(SCHEMA, statement, values)

    def datasets(self, count: int, **labels: str) -> list[str]:
        """READY datasets `made 0`, `made 1` … of 10 bytes each; their ids."""
        ids = [str(new_id()) for _ in range(count)]
        self.execute(
            f"""
            INSERT INTO datasets (id, name, status, repo_id, revision, commit, config, splits, labels, rows, size_bytes,
                job_id, {_COMMON})
            SELECT id, 'made ' || n - 1, 'READY', 'made/' || mod(n, 10), 'main', 'c', '', '["train"]', %s::jsonb, n, 10,
                gen_random_uuid(), {_COMMON_VALUES}
            FROM unnest(%s::uuid[]) WITH ORDINALITY AS given (id, n)
            """,
            json.dumps(labels),
            ids,
        )
        return ids

    def tokenization(self, dataset_id: str, status: str = "READY", size_bytes: int = 100, job_id: str = "") -> str:
        """A tokenization of a dataset; its id."""
        made = str(new_id())
        self.execute(
            f"""
            INSERT INTO tokenizations (id, dataset_id, model_id, settings, settings_digest, status, documents, tokens,
                size_bytes, engine, tokenizer_sha256, job_id, {_COMMON})
            VALUES (%s, %s, gen_random_uuid(), '{{"split": "train", "text_column": "text"}}', %s, %s, 3, 30, %s,
                'tokenizers', '', %s, {_COMMON_VALUES})
            """,
            made, dataset_id, made, status, size_bytes, job_id or str(new_id()),
        )  # fmt: skip
        return made

    def export(self, tokenization_id: str, status: str = "READY", size_bytes: int = 1000, job_id: str = "") -> str:
        """An export of a tokenization; its id."""
        made = str(new_id())
        self.execute(
            f"""
            INSERT INTO exports (id, tokenization_id, view, view_digest, status, sequences, short_sequences, tokens,
                size_bytes, job_id, {_COMMON})
            SELECT %s, %s, %s::jsonb, %s, %s, 1, 0, 128, %s, %s, {_COMMON_VALUES}
            """,
            made, tokenization_id, _VIEW, made, status, size_bytes, job_id or str(new_id()),
        )  # fmt: skip
        return made

    def derived(self, dataset_id: str, kind: str, status: str = "READY", size_bytes: int = 7, job_id: str = "") -> str:
        """Something derived from a dataset; its id."""
        made = str(new_id())
        self.execute(
            f"""
            INSERT INTO derived (id, dataset_id, kind, status, size_bytes, job_id, {_COMMON})
            VALUES (%s, %s, %s, %s, %s, %s, {_COMMON_VALUES})
            """,
            made, dataset_id, kind, status, size_bytes, job_id or str(new_id()),
        )  # fmt: skip
        return made

    def being_cancelled(self, job_id: str) -> None:
        """Leave a job as it is while a worker is stopping it."""
        self.execute(
            """
            UPDATE jobs SET state = 'CANCELLING', cancel_requested_at = now(), lease_until = now() + interval '1 hour'
            WHERE id = %s
            """,
            job_id,
        )

    def job_like(self, job_id: str, kind: str, resource_id: str, **columns: Any) -> str:
        """A job of another kind and resource, otherwise as `job_id`; its id."""
        made = str(new_id())
        changes = {"id": made, "kind": kind, "resource_id": resource_id, **columns}
        names = ", ".join(f"'{name}', %s::text" for name in changes)
        self.execute(
            f"""
            INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object({names}))).*
            FROM jobs j WHERE id = %s
            """,
            *changes.values(),
            job_id,
        )
        return made

"""Models as jobs would leave them, made by hand where a test needs many of them, or some of a certain kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mistudio_local.testing import Database
from mistudio_models.store import SCHEMA
from mistudio_servicekit.database import new_id

_INSERT = """
    INSERT INTO models (id, name, status, repo_id, revision, commit, facts, architecture, parameters, epoch, size_bytes,
        error, labels, job_id, version, v1_id)
    SELECT id, 'made ' || n - 1, %(status)s, 'made/' || n, 'main', id::text, %(facts)s::jsonb, 'GPT2LMHeadModel', n, 1,
        10 * n, %(error)s::jsonb, '{}', gen_random_uuid(), 1, %(v1_id)s
    FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS given (id, n)
"""
_FACTS = {"architecture": "GPT2LMHeadModel", "model_type": "gpt2", "parameters_by_dtype": {"F32": 100}}


class MadeModels:
    """Inserts models into a service's database.

    Args:
        database: the database, migrated.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """What a statement gives."""
        return self._database.execute(SCHEMA, statement, values)

    def put(
        self,
        count: int = 1,
        status: str = "READY",
        *,
        error: Mapping[str, Any] | None = None,
        v1_id: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Models `made 0`, `made 1` … in this status; their ids."""
        ids = [str(new_id()) for _ in range(count)]
        values = {
            "ids": ids,
            "status": status,
            "error": json.dumps(error) if error else None,
            "v1_id": v1_id,
            "facts": json.dumps({**_FACTS, **(facts or {})}),
        }
        self.execute(_INSERT, values)
        return ids

    def on_their_way(self, count: int, job_id: str) -> list[str]:
        """Models that are being downloaded by jobs that are as `job_id` is; their ids."""
        ids = self.put(count, "DOWNLOADING")
        self.execute(
            """
            INSERT INTO jobs
            SELECT (jsonb_populate_record(j, jsonb_build_object('id', m.job_id, 'resource_id', m.id))).*
            FROM jobs j, models m WHERE j.id = %(job)s AND m.id = ANY(%(ids)s)
            """,
            {"job": job_id, "ids": ids},
        )
        return ids

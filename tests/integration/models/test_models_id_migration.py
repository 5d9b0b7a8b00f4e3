"""Models keep their ids and all that is known about them when ids become UUIDs, and on the way back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy.exc import ProgrammingError

from mistudio_local.testing import Database
from mistudio_models.migrate import FOLDERS
from mistudio_models.store import SCHEMA
from mistudio_servicekit.database import migrate

_NAMED = [f"m_{uuid4()}" for _ in range(150)]
_BARE = [str(uuid4()) for _ in range(50)]
_TWINS = [each.removeprefix("m_") for each in _NAMED[:20]]
_TEXTS = [
    *(f"m_{number:06x}" for number in range(100)),
    *(f"Modell Nr. {number} · 模型 🤖 'quoted' \\back" for number in range(50)),
    *(f"m_{uuid4()}".upper() for _ in range(20)),
    *(f"{each} " for each in _NAMED[:10]),
    "x" * 2_000,
    " ",
    "m_",
]
_IDS = _NAMED + _BARE + _TWINS + _TEXTS
_INSERT = """
    INSERT INTO models (id, name, status, repo_id, revision, commit, facts, architecture, parameters, epoch, size_bytes,
        error, labels, job_id, created_at, updated_at, version)
    VALUES (%(id)s, %(name)s, %(status)s, 'owner/name', 'main', %(commit)s, %(facts)s, 'LlamaForCausalLM', %(number)s,
        %(number)s, %(size)s, %(error)s, %(labels)s, %(job)s, now() - %(number)s * interval '1 hour', now(), 3)
"""
_WITH_OTHER_FILES = """
    INSERT INTO models (id, name, status, repo_id, revision, commit, facts, architecture, parameters, epoch, size_bytes,
        labels, job_id, version, selection, default_settings, created_at)
    SELECT gen_random_uuid(), name, status, repo_id, revision, commit, facts, architecture, parameters, epoch,
        size_bytes, labels, job_id, 1, 'other files', '{"format": "NF4"}', now() + interval '1 hour'
    FROM models WHERE status = 'READY'
"""
_DOWN = "models@-2"
"""From the newest revision to the one in which ids were texts."""


def _row(number: int, model_id: str) -> Mapping[str, Any]:
    status = ("READY", "DOWNLOADING", "ERROR", "CANCELLED")[number % 4]
    return {
        "id": model_id,
        "number": number,
        "name": f"Model {number} ü",
        "status": status,
        "commit": f"{number // 4:040x}{status}",
        "facts": Jsonb({"model_type": f"type {number % 7}", "parameters_by_dtype": {"BF16": number}}),
        "size": number << 32,
        "error": Jsonb({"problem": f"Failure {number}", "metadata": {"a": "ü"}}) if status == "ERROR" else None,
        "labels": Jsonb({"team": f"team {number % 5}", "größe": "☃"}),
        "job": uuid4(),
    }


@pytest.fixture
def filled(database: Database) -> Iterator[Database]:
    """A database of the release in which ids were texts, with hundreds of models under ids of every kind."""
    _to(database, "models_0001")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SET search_path = {SCHEMA}")
        cursor.executemany(_INSERT, [_row(number, each) for number, each in enumerate(_IDS)])
        connection.commit()
    yield database


def _to(database: Database, revision: str) -> None:
    migrate(database.url(SCHEMA), SCHEMA, FOLDERS, revision)


def _execute(database: Database, statement: str) -> None:
    with database.connect() as connection:
        connection.execute(f"SET search_path = {SCHEMA}")
        connection.execute(statement)
        connection.commit()


def _rows(database: Database) -> list[dict[str, Any]]:
    """Every model with all its columns, oldest last."""
    with database.connect() as connection, psycopg.Cursor(connection, row_factory=dict_row) as cursor:
        cursor.execute(f"SET search_path = {SCHEMA}")
        return cursor.execute("SELECT * FROM models ORDER BY created_at DESC").fetchall()


def _revisions(database: Database) -> set[str]:
    with database.connect() as connection:
        return {found for (found,) in connection.execute(f"SELECT version_num FROM {SCHEMA}.alembic_version")}


def test_every_model_survives_the_way_up_down_and_up_again_with_all_its_columns(filled: Database) -> None:
    before = _rows(filled)
    _to(filled, "heads")
    above = _rows(filled)
    assert [{**now, "id": was["id"]}.items() >= was.items() for now, was in zip(above, before, strict=True)]
    _to(filled, _DOWN)
    assert _rows(filled) == before
    _to(filled, "heads")
    assert _rows(filled) == above


def test_a_model_keeps_the_uuid_of_its_id_and_any_other_id_beside_a_uuid_of_its_own(filled: Database) -> None:
    _to(filled, "heads")
    became = {row["v1_id"] or f"m_{row['id']}": row["id"] for row in _rows(filled)}
    assert became.keys() == set(_IDS)
    assert len(set(became.values())) == len(_IDS)
    for model_id in _NAMED:
        assert str(became[model_id]) == model_id.removeprefix("m_")
    for model_id in _BARE:
        assert str(became[model_id]) == model_id


def test_what_is_known_of_a_model_stays_with_it(filled: Database) -> None:
    _to(filled, "heads")
    for number, row in enumerate(_rows(filled)):
        said = _row(number, _IDS[number])
        assert (row["v1_id"] or f"m_{row['id']}", row["name"]) == (said["id"], said["name"])
        assert row["labels"] == said["labels"].obj
        assert row["error"] == (said["error"].obj if said["error"] else None)
        assert row["model_type"] == said["facts"].obj["model_type"]


def test_a_database_whose_ids_are_uuids_already_goes_up_and_keeps_them(filled: Database) -> None:
    _execute(filled, "DELETE FROM models WHERE id !~ '^m_[0-9a-f-]{36}$'")
    _execute(filled, "ALTER TABLE models ALTER COLUMN id TYPE uuid USING substr(id, 3)::uuid")
    _to(filled, "heads")
    rows = _rows(filled)
    assert [row["id"] for row in rows] == [UUID(each.removeprefix("m_")) for each in _NAMED]
    assert {row["v1_id"] for row in rows} == {None}


def test_an_upgrade_that_fails_leaves_everything_as_it_was(filled: Database) -> None:
    before, revisions = _rows(filled), _revisions(filled)
    _execute(filled, "CREATE TABLE measurements (in_the_way int)")
    with pytest.raises(ProgrammingError, match="measurements"):
        _to(filled, "heads")
    assert (_rows(filled), _revisions(filled)) == (before, revisions)
    _execute(filled, "DROP TABLE measurements")
    _to(filled, "heads")
    assert len(_rows(filled)) == len(before)


def test_models_of_one_commit_with_other_files_survive_the_way_down_and_up(filled: Database) -> None:
    _to(filled, "heads")
    _execute(filled, _WITH_OTHER_FILES)
    names = sorted((row["name"], row["id"]) for row in _rows(filled))
    _to(filled, _DOWN)
    assert len(_rows(filled)) == len(names)
    _to(filled, "heads")
    assert sorted((row["name"], row["id"]) for row in _rows(filled)) == names
    found = [row for row in _rows(filled) if row["status"] == "READY" and row["selection"] == ""]
    assert {row["version"] for row in found} == {3}, "requests find the older ones"

"""The outbox: what a transaction wants told, written with it: never told before the commit, never lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from mistudio_jobs import events
from mistudio_jobs.tables import Job
from mistudio_jobs.turns import Row, Turn, Values, execute

_COLUMNS = "id, job_id, subject, msg_id, payload"
_TOLD = ", ".join(f"'{each.name}', {each.name}" for each in fields(events.ToldJob) if each.name != "at")

# A row waits while an earlier one of its job is still left to its writer.
_READY = f"""
    SELECT {_COLUMNS} FROM outbox o
    WHERE published_at IS NULL AND NOT EXISTS (
        SELECT FROM outbox e
        WHERE e.job_id = o.job_id AND e.id <= o.id AND e.published_at IS NULL AND e.held_until > clock_timestamp())
    ORDER BY id LIMIT %(most)s
"""  # noqa: S608 - constants only
_ADD_DELETED = """
    INSERT INTO outbox (job_id, subject, msg_id, payload)
    SELECT id, subject, subject, to_jsonb(clock_timestamp())
    FROM unnest(%(ids)s::uuid[], %(subjects)s::text[]) AS gone (id, subject)
"""
_MARK = """
    UPDATE outbox SET published_at = clock_timestamp() WHERE id = ANY(%(published)s) AND published_at IS NULL
"""
_PRUNE = text("DELETE FROM outbox WHERE published_at < clock_timestamp() - make_interval(secs => :age)")


def state_insert(source: str, subject: str = "%(state_subject)s") -> str:
    """SQL that tells of the present state of the job in `source`, which has all columns of `jobs`; see `state_values`.

    What is told is the job as it is in this statement, so it needs no round trip of its own. Where `source` has several
    jobs, `subject` is the SQL of each one's.
    """
    return f"""
        INSERT INTO outbox (job_id, subject, msg_id, payload, held_until)
        SELECT id, {subject}, id || '.' || version, jsonb_build_object({_TOLD}, 'at', clock_timestamp()),
            clock_timestamp() + make_interval(secs => %(held)s)
        FROM {source}
    """  # noqa: S608 - constants only


def doorbell_insert(source: str) -> str:
    """SQL that wakes a worker for the job in `source`; see `doorbell_values`."""
    return f"""
        INSERT INTO outbox (job_id, subject, msg_id, payload)
        SELECT id, %(doorbell_subject)s, id || '.dispatch.' || dispatch_seq, to_jsonb(kind)
        FROM {source}
    """  # noqa: S608 - constants only


def state_values(service: str, job_id: UUID, held: float = 0.0) -> Values:
    """Values for `state_insert`; the relay leaves the row to its writer for `held` seconds."""
    return {"state_subject": events.state_subject(service, job_id), "held": held}


def doorbell_values(service: str, pool: str, job_id: UUID) -> Values:
    """Values for `doorbell_insert`."""
    return {"doorbell_subject": events.doorbell_subject(service, pool, job_id)}


_ROW = "(SELECT * FROM jobs WHERE id = %(id)s)"
_ADD_STATE = state_insert(_ROW)
_ADD_DOORBELL = doorbell_insert(_ROW)
_UNPUBLISHED_EVENTS = "published_at IS NULL AND starts_with(subject, 'evt.')"
_LIST = f"SELECT {_COLUMNS} FROM outbox WHERE job_id = %(id)s AND {_UNPUBLISHED_EVENTS} ORDER BY id"  # noqa: S608


@dataclass(frozen=True)
class Message:
    """One row of the outbox; `payload` is what `events.encoded` takes."""

    id: int
    job_id: UUID
    subject: str
    msg_id: str
    payload: Mapping[str, Any] | str

    @property
    def is_event(self) -> bool:
        """Whether it tells of something that happened; otherwise it is a doorbell."""
        return self.subject.startswith("evt.")


def changing(change: str, also: str) -> str:
    """SQL of one turn of the job `%(id)s`: the change, its event, and other rows that come with it, for `changed`.

    Args:
        change: an `UPDATE jobs` that counts the version up and returns all columns.
        also: more common table expressions, which find the job in `changed`.
    """
    # `alone` tells that no other event of the job waits. The statement sees the outbox as it was when it began, perhaps
    # before it waited for the job's lock: whether something happened meanwhile shows in the version.
    return f"""
        WITH before AS (SELECT version FROM jobs WHERE id = %(id)s),
        changed AS ({change}),
        marked AS ({_MARK}),
        {also},
        told AS ({state_insert("changed")} RETURNING {_COLUMNS})
        SELECT changed.*, told.id AS told_id, told.subject AS told_subject, told.msg_id AS told_msg_id,
            told.payload AS told_payload, before.version = changed.version - 1 AND NOT EXISTS (
                SELECT FROM outbox
                WHERE job_id = %(id)s AND {_UNPUBLISHED_EVENTS} AND id <> ALL(%(published)s)) AS alone
        FROM before, changed, told
    """  # noqa: S608 - constants only


def changing_values(service: str, job_id: UUID, held: float, published: Sequence[int] = ()) -> Values:
    """Values for the parts of `changing` that are not the caller's.

    Args:
        service: the job's service.
        job_id: the job.
        held: seconds for which the relay leaves the event to the caller.
        published: ids of the job's earlier events that the caller has published: they are marked on the way.
    """
    return {"id": job_id, "published": list(published), **state_values(service, job_id, held)}


async def changed(turn: Turn, statement: str, values: Values) -> tuple[Row, list[Message]] | None:
    """Run a statement made by `changing`, with `changing_values` besides; None where it found no job to change.

    Returns:
        the job's row, and all its unpublished events in the order in which they must be published after the commit.
    """
    rows = await turn.execute(statement, values)
    if not rows:
        return None
    (row,) = rows
    told = Message(
        row.pop("told_id"), row["id"], row.pop("told_subject"), row.pop("told_msg_id"), row.pop("told_payload")
    )
    if row.pop("alone"):
        return row, [told]
    return row, [Message(**each) for each in await turn.execute(_LIST, {"id": row["id"]})]


async def add_state(session: AsyncSession, job: Job) -> None:
    """Tell of the job's present state. The transaction has updated the job's row before."""
    await execute(session, _ADD_STATE, {"id": job.id, **state_values(job.service, job.id)})


async def add_doorbell(session: AsyncSession, job: Job) -> None:
    """Wake a worker of the job's pool."""
    await execute(session, _ADD_DOORBELL, {"id": job.id, **doorbell_values(job.service, job.pool, job.id)})


async def add_deleted(session: AsyncSession, service: str, resource_ids: Sequence[UUID]) -> None:
    """Tell that resources of `service` are deleted, and when; each once in its life."""
    subjects = [events.deleted_subject(service, resource_id) for resource_id in resource_ids]
    await execute(session, _ADD_DELETED, {"ids": list(resource_ids), "subjects": subjects})


async def ready(turn: Turn, most: int) -> list[Message]:
    """At most `most` unpublished rows that the relay may publish, in order."""
    return [Message(**row) for row in await turn.execute(_READY, {"most": most})]


async def mark_published(turn: Turn, ids: Sequence[int]) -> None:
    """Note that the rows `ids` have been published."""
    await turn.execute(_MARK, {"published": sorted(ids)})


async def prune(session: AsyncSession, age: float) -> None:
    """Delete rows published more than `age` seconds ago."""
    await session.execute(_PRUNE, {"age": age})

"""What a watcher wants to see: one job, or the jobs that a filter matches."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from mistudio.jobs.v1 import job_pb2
from mistudio_gateway.backends import DATASETS, MODELS
from mistudio_gateway.eventlog import ALL_EVENTS
from mistudio_jobs.events import job_subjects
from mistudio_servicekit.filters import FieldParser, Term, choice_of, parse_filter, uuid_value
from mistudio_servicekit.requests import parse_id

Subject: TypeAlias = job_pb2.JobEvent | job_pb2.Job
"""Something with the fields that a filter speaks of."""


def _uuid_text(text: str) -> str:
    return str(uuid_value(text))


_FIELDS: Mapping[str, FieldParser] = {
    "service": choice_of(DATASETS, MODELS),
    "kind": str,
    "resource_type": str,
    "resource_id": _uuid_text,
    "job_id": _uuid_text,
}


@dataclass(frozen=True)
class Selection:
    """The jobs of one watch.

    Attributes:
        job_id: the only job, or None for all that the terms match.
        terms: comparisons of the filter.
        key: 8 bytes that equal selections share; a resume token carries them.
    """

    job_id: str | None
    terms: tuple[Term, ...]
    key: bytes

    @staticmethod
    def of_job(text: str) -> Selection:
        """The one job with the id `text`.

        Raises:
            MissingField, MalformedId: it is no UUID.
        """
        job_id = str(parse_id("id", text))
        return Selection(job_id, (), _key("job", job_id))

    @staticmethod
    def of_filter(text: str) -> Selection:
        """The jobs that the filter `text` matches.

        Raises:
            InvalidFilter: it does not parse, or names an unknown field.
        """
        terms = tuple(parse_filter(text, _FIELDS))
        return Selection(None, terms, _key("jobs", *sorted(f"{term.field}{term.op}{term.value!r}" for term in terms)))

    @property
    def subject(self) -> str:
        """The subject of the log that has all of the selection's events."""
        return job_subjects("*", self.job_id) if self.job_id else ALL_EVENTS

    def matches(self, subject: Subject) -> bool:
        """Whether an event or a job belongs to the watch."""
        identifier = subject.id if isinstance(subject, job_pb2.Job) else subject.job_id
        if self.job_id is not None:
            return identifier == self.job_id
        return all(
            term.matches(identifier if term.field == "job_id" else getattr(subject, term.field)) for term in self.terms
        )


def _key(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(parts).encode()).digest()[:8]

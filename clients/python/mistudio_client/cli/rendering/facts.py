"""What lists of facts about different things have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mistudio.jobs.v1 import job_pb2
from mistudio_client.cli.rendering.formats import byte_size, number

Facts = list[tuple[str, str]]
"""Names and values; what is not known is empty, and not shown."""


def origin(repo_id: str, revision: str, commit: str) -> Facts:
    """Where on the Hub something is from."""
    return [("repository", repo_id), ("revision", revision), ("commit", commit)]


def ending(labels: Mapping[str, str], job_id: str) -> Facts:
    """What facts about a resource end with."""
    return [("labels", ", ".join(f"{name}={value}" for name, value in sorted(labels.items()))), ("job", job_id)]


def problem_facts(problems: Iterable[job_pb2.JobError]) -> Facts:
    """Why a model is not loaded as things are."""
    return [("loading is refused", problem.message) for problem in problems]


def known_count(value: int) -> str:
    """A count; empty for 0, which stands for one that is not known."""
    return number(value) if value else ""


def known_size(value: int) -> str:
    """Bytes; empty for 0, which stands for a size that is not known."""
    return byte_size(value) if value else ""

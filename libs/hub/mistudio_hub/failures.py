"""Translates what goes wrong at the Hub into typed errors. No text ever holds a token or a library's message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]  # re-exported lazily

from mistudio_hub.repository import DEFAULT_REVISION, RepoType
from mistudio_servicekit.errors import (
    EntryNotFound,
    HubRateLimited,
    HubTokenInvalid,
    HubUnavailable,
    MistudioError,
    RepoGated,
    RepoNotFound,
    RevisionNotFound,
)

_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True)
class Subject:
    """What a request asked for, for the text of its error.

    Attributes:
        endpoint: address of the Hub or of a mirror.
        repo_type: kind of the repository.
        repo_id: its id.
        revision: branch, tag or commit.
        path: a file in it, or empty.
        has_token: whether a token was sent.
    """

    endpoint: str
    repo_type: RepoType
    repo_id: str
    revision: str = DEFAULT_REVISION
    path: str = ""
    has_token: bool = False

    @property
    def host(self) -> str:
        """Host name of the endpoint: what a text may show of it."""
        return urlsplit(self.endpoint).hostname or self.endpoint

    @property
    def repo(self) -> str:
        """The repository, as a text names it."""
        return f"{self.repo_type} repository {self.repo_id!r}"


def is_transient(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """How long the Hub asks to wait: by `Retry-After` (seconds or a date) or its rate-limit header; None if unsaid."""
    value = headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    if value:
        try:
            return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
        except (ValueError, TypeError):
            return None
    limits = parse_ratelimit_headers(headers)
    return float(limits.reset_in_seconds) if limits is not None and limits.remaining == 0 else None


def from_status(status: int, headers: Mapping[str, str], subject: Subject) -> MistudioError:
    """The typed error for an HTTP answer of 400 or more."""
    named = _from_error_code(headers.get("X-Error-Code", ""), subject)
    if named is not None:
        return named
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return token_invalid(subject.host) if subject.has_token else _repo_not_found(subject)
        case HTTPStatus.FORBIDDEN:
            return _gated(subject)
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return _entry_not_found(subject) if subject.path else _repo_not_found(subject)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return _rate_limited(retry_after_seconds(headers), subject)
        case _:
            return unavailable(subject, f"answered with HTTP status {status}", retry_after_seconds(headers))


def _from_error_code(code: str, subject: Subject) -> MistudioError | None:
    """The Hub's own word for the cause, which is finer than the status."""
    match code:
        case "RepoNotFound":
            return _repo_not_found(subject)
        case "RevisionNotFound":
            return revision_not_found(subject)
        case "EntryNotFound":
            return _entry_not_found(subject)
        case "GatedRepo":
            return _gated(subject)
        case _:
            return None


def unavailable(subject: Subject, problem: str, retry_after: float | None = None) -> HubUnavailable:
    """The error for a Hub that `problem` (such as "cannot be reached")."""
    return HubUnavailable(
        f"The Hub at {subject.host} {problem} (asked for {subject.repo})",
        next_step="Try again later, and check the network and the configured Hub endpoint",
        retry_after_seconds=retry_after,
        metadata={"host": subject.host},
    )


def token_invalid(host: str) -> HubTokenInvalid:
    """The error for a token that the Hub does not know."""
    return HubTokenInvalid(
        f"The Hub at {host} does not accept the given token",
        next_step="Create a valid token in the Hub's settings and pass that one, or pass none",
        field="hub_token",
    )


def _rate_limited(seconds: float | None, subject: Subject) -> HubRateLimited:
    wait = f"for {seconds:.0f} seconds" if seconds is not None else "for a while"
    return HubRateLimited(
        f"The Hub at {subject.host} allows no more requests {wait}",
        next_step="Wait that long, or pass a token, which has a higher limit",
        retry_after_seconds=seconds,
        metadata={"host": subject.host},
    )


def _repo_not_found(subject: Subject) -> RepoNotFound:
    hint = "that the token may read it" if subject.has_token else "pass a token if it is private"
    return RepoNotFound(
        f"The Hub at {subject.host} has no {subject.repo} that may be read with {_credentials(subject)}",
        next_step=f"Check the spelling of the repository and its kind, and {hint}",
        field="repo_id",
        metadata={"id": subject.repo_id},
    )


def revision_not_found(subject: Subject) -> RevisionNotFound:
    """The error for a branch, tag or commit that the repository does not have."""
    return RevisionNotFound(
        f"The {subject.repo} has no revision {subject.revision!r}",
        next_step=f"Give a branch, tag or commit that it has, such as {DEFAULT_REVISION!r}",
        field="revision",
        metadata={"id": subject.repo_id, "revision": subject.revision},
    )


def _entry_not_found(subject: Subject) -> EntryNotFound:
    return EntryNotFound(
        f"The {subject.repo} has no file {subject.path!r} at revision {subject.revision!r}",
        next_step="List the repository's files to see which exist",
        metadata={"id": subject.repo_id, "path": subject.path},
    )


def _gated(subject: Subject) -> RepoGated:
    if subject.has_token:
        problem = f"The given token has no access to the gated {subject.repo}"
        step = f"Accept the terms on {subject.host}/{subject.repo_id} as the token's owner, and let the token read it"
    else:
        problem = f"The {subject.repo} is gated and no token was given"
        step = f"Accept the terms on {subject.host}/{subject.repo_id} and pass a token of the account that did"
    return RepoGated(problem, next_step=step, field="hub_token", metadata={"id": subject.repo_id})


def _credentials(subject: Subject) -> str:
    return "the given token" if subject.has_token else "no token"

"""HTTP answers of the Hub as typed errors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mistudio_hub.failures import Subject, from_status, is_transient, retry_after_seconds
from mistudio_hub.repository import RepoInfo, RepoSource, RepoType
from mistudio_servicekit.errors import (
    EntryNotFound,
    HubRateLimited,
    HubTokenInvalid,
    HubUnavailable,
    MistudioError,
    RepoGated,
    RepoNotFound,
)

OPEN = Subject("https://user:password@hub.example", RepoType.MODEL, "owner/model", "main", "a.bin")
WITH_TOKEN = Subject("https://hub.example", RepoType.MODEL, "owner/model", has_token=True)


@pytest.mark.parametrize(
    ("status", "code", "subject", "expected"),
    [
        (401, "", OPEN, RepoNotFound),
        (401, "", WITH_TOKEN, HubTokenInvalid),
        (401, "RepoNotFound", WITH_TOKEN, RepoNotFound),
        (401, "GatedRepo", OPEN, RepoGated),
        (403, "", WITH_TOKEN, RepoGated),
        (404, "", OPEN, EntryNotFound),
        (404, "", WITH_TOKEN, RepoNotFound),
        (429, "", OPEN, HubRateLimited),
        (500, "", OPEN, HubUnavailable),
        (418, "", OPEN, HubUnavailable),
    ],
)
def test_each_answer_becomes_its_error(status: int, code: str, subject: Subject, expected: type[MistudioError]) -> None:
    error = from_status(status, {"X-Error-Code": code} if code else {}, subject)
    assert type(error) is expected
    assert error.next_step


def test_a_password_in_the_endpoint_is_not_repeated() -> None:
    assert "password" not in str(from_status(500, {}, OPEN))


def test_a_source_does_not_show_its_token() -> None:
    source = RepoSource("https://hub.example", RepoInfo(RepoType.DATASET, "owner/data", "c" * 40), "hf_secret")
    assert "hf_secret" not in repr(source)
    assert source.url("a b/ü.txt") == f"https://hub.example/datasets/owner/data/resolve/{'c' * 40}/a%20b/%C3%BC.txt"


def test_a_wait_is_read_from_seconds_a_date_or_the_rate_limit() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_seconds({"Retry-After": "12"}) == 12
    assert retry_after_seconds({"Retry-After": later}) == pytest.approx(60, abs=2)
    assert retry_after_seconds({"RateLimit": '"api";r=0;t=55'}) == 55
    assert retry_after_seconds({"RateLimit": '"api";r=9;t=55'}) is None
    assert retry_after_seconds({"Retry-After": "soon"}) is None
    assert retry_after_seconds({}) is None


@pytest.mark.parametrize(("status", "transient"), [(408, True), (429, True), (500, True), (503, True), (404, False)])
def test_only_passing_answers_are_tried_again(status: int, transient: bool) -> None:
    assert is_transient(status) is transient

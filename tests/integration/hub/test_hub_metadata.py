"""What the Hub knows of a repository, who may see it, and what its refusals become."""

from __future__ import annotations

import socket

import pytest

from mistudio_hub.metadata import HubClient
from mistudio_hub.repository import RepoType
from mistudio_local.hub_mirror import Listener, Refusal
from mistudio_servicekit.errors import (
    EntryNotFound,
    HubRateLimited,
    HubTokenInvalid,
    HubUnavailable,
    InvalidArgument,
    MalformedFile,
    MistudioError,
    RepoGated,
    RepoNotFound,
    RevisionNotFound,
)

MODEL, GATED, PRIVATE = "owner/model", "owner/gated", "owner/private"
READER, STRANGER, UNKNOWN = "hf_ada_secret", "hf_bob_secret", "hf_nobody_secret"


@pytest.fixture
def client(site):
    """A client without a token."""
    with HubClient(site.mirror.url) as client:
        yield client


def test_the_tree_lists_all_files_over_all_pages_with_sizes_and_checksums(site, client: HubClient) -> None:
    files = client.tree(client.repo_info(RepoType.MODEL, MODEL))
    assert {file.path: file.size for file in files} == {path: len(data) for path, data in site.served().items()}
    assert {file.path for file in files if file.sha256} == {"model.safetensors", "other.safetensors"}


def test_a_tag_names_its_own_commit_and_files(client: HubClient) -> None:
    main, tag = (client.repo_info(RepoType.MODEL, MODEL, revision) for revision in ("main", "v1"))
    assert main.commit != tag.commit
    assert client.read_small_file(tag, "config.json") == b'{"old": true}'
    assert client.repo_info(RepoType.MODEL, MODEL, tag.commit) == tag


def test_gating_and_privacy_are_told(site, client: HubClient) -> None:
    assert client.repo_info(RepoType.MODEL, GATED).gated == "manual"
    assert not client.repo_info(RepoType.MODEL, MODEL).private
    with HubClient(site.mirror.url, READER) as reader:
        assert reader.repo_info(RepoType.MODEL, PRIVATE).private


def test_a_range_is_read_without_the_rest(site, client: HubClient) -> None:
    repo = client.repo_info(RepoType.MODEL, MODEL)
    expected = site.served()["model.safetensors"]
    assert client.read_range(repo, "model.safetensors", 8, 100) == expected[8:108]
    assert client.read_range(repo, "model.safetensors", len(expected) - 5, 100) == expected[-5:]
    assert site.mirror.faults.bytes_sent() == 105


def test_a_small_file_that_is_not_small_is_refused(client: HubClient) -> None:
    repo = client.repo_info(RepoType.MODEL, MODEL)
    with pytest.raises(MalformedFile, match="README"):
        client.read_small_file(repo, "README.md", limit_bytes=3)


@pytest.mark.parametrize("repo_id", ["", "a/b/c", "../x", "owner/na me", "owner/--x", "https://huggingface.co/a/b"])
def test_a_malformed_repository_id_is_refused_before_any_request(site, client: HubClient, repo_id: str) -> None:
    with pytest.raises(InvalidArgument) as failure:
        client.repo_info(RepoType.MODEL, repo_id)
    assert failure.value.field == "repo_id"
    assert not site.mirror.faults.requests


@pytest.mark.parametrize("token", [None, STRANGER])
def test_an_unknown_repository_is_not_found(site, token: str | None) -> None:
    with HubClient(site.mirror.url, token) as client, pytest.raises(RepoNotFound, match="owner/none"):
        client.repo_info(RepoType.MODEL, "owner/none")


@pytest.mark.parametrize("token", [None, STRANGER])
def test_a_private_repository_is_not_found_by_others(site, token: str | None) -> None:
    with HubClient(site.mirror.url, token) as client, pytest.raises(RepoNotFound):
        client.repo_info(RepoType.MODEL, PRIVATE)


def test_a_dataset_is_no_model(client: HubClient) -> None:
    with pytest.raises(RepoNotFound, match="dataset"):
        client.repo_info(RepoType.DATASET, MODEL)


def test_an_unknown_revision_is_not_found(client: HubClient) -> None:
    with pytest.raises(RevisionNotFound, match="v9") as failure:
        client.repo_info(RepoType.MODEL, MODEL, "v9")
    assert failure.value.field == "revision"


def test_an_unknown_file_is_not_found(client: HubClient) -> None:
    repo = client.repo_info(RepoType.MODEL, MODEL)
    with pytest.raises(EntryNotFound, match=r"none\.json"):
        client.read_small_file(repo, "none.json")


def test_a_gated_repository_asks_for_terms_and_a_token(site, client: HubClient) -> None:
    repo = client.repo_info(RepoType.MODEL, GATED)
    with pytest.raises(RepoGated, match=r"no token was given.*Accept the terms.*pass a token"):
        client.require_access(repo)
    with pytest.raises(RepoGated, match="no token was given"):
        site.download(GATED)


def test_a_gated_repository_tells_a_token_without_access_so(site) -> None:
    with HubClient(site.mirror.url, STRANGER) as client:
        repo = client.repo_info(RepoType.MODEL, GATED)
        with pytest.raises(RepoGated, match="given token has no access"):
            client.require_access(repo)
    with pytest.raises(RepoGated, match="given token has no access"):
        site.download(GATED, token=STRANGER)


@pytest.mark.parametrize("repo_id", [GATED, PRIVATE])
def test_a_token_with_access_opens_closed_repositories(site, repo_id: str) -> None:
    with HubClient(site.mirror.url, READER) as client:
        client.require_access(client.repo_info(RepoType.MODEL, repo_id))
    site.download(repo_id, token=READER)
    assert site.downloaded() == site.served(repo_id)


def test_an_unknown_token_is_called_invalid(site) -> None:
    with HubClient(site.mirror.url, UNKNOWN) as client, pytest.raises(HubTokenInvalid):
        client.repo_info(RepoType.MODEL, MODEL)


def test_a_token_that_no_header_can_hold_is_called_invalid_without_being_repeated(site) -> None:
    with pytest.raises(HubTokenInvalid) as failure:
        HubClient(site.mirror.url, "hf_sécret\nX: y")
    assert "cret" not in str(failure.value)


def test_no_error_repeats_the_token(site) -> None:
    errors: list[MistudioError] = []
    for token in (STRANGER, UNKNOWN):
        with HubClient(site.mirror.url, token) as client:
            for repo_id in (GATED, PRIVATE, "owner/none"):
                with pytest.raises(MistudioError) as failure:
                    client.require_access(client.repo_info(RepoType.MODEL, repo_id))
                errors.append(failure.value)
    assert errors
    for error in errors:
        chain = [error, error.__cause__, error.__context__]
        assert not any("_secret" in f"{link}{getattr(link, 'metadata', '')}" for link in chain if link)


def test_a_token_stored_on_the_machine_is_not_used(site, monkeypatch: pytest.MonkeyPatch, client: HubClient) -> None:
    monkeypatch.setenv("HF_TOKEN", READER)
    client.repo_info(RepoType.MODEL, MODEL)
    site.download()
    assert not any(record.authorized for record in site.mirror.faults.requests)


def test_the_token_stays_with_the_hub_when_it_redirects(site) -> None:
    site.download(GATED, token=READER)
    records = site.mirror.faults.requests
    assert {record.authorized for record in records if record.listener is Listener.HUB} == {True}
    assert {record.authorized for record in records if record.listener is Listener.CDN} == {False}


def test_a_rate_limit_is_passed_on_at_once_with_its_duration(site, client: HubClient) -> None:
    site.mirror.faults.refusals.append(Refusal(429, times=None, retry_after="77"))
    with pytest.raises(HubRateLimited) as failure:
        client.repo_info(RepoType.MODEL, MODEL)
    assert failure.value.retry_after_seconds == 77


def test_a_failing_hub_is_unavailable(site, client: HubClient) -> None:
    site.mirror.faults.refusals.append(Refusal(502, times=None))
    with pytest.raises(HubUnavailable, match="502"):
        client.repo_info(RepoType.MODEL, MODEL)


def test_an_absent_hub_is_unavailable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and nobody listens
        port = held.getsockname()[1]
        with HubClient(f"http://127.0.0.1:{port}") as client, pytest.raises(HubUnavailable, match="cannot be reached"):
            client.repo_info(RepoType.MODEL, MODEL)

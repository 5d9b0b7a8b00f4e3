"""Sealed secrets."""

from __future__ import annotations

import os

import pytest

from mistudio_jobs.secrets import SecretKeys
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import Internal

SECRETS = {"hub_token": "hf_abc"}


def test_sealed_secrets_open_for_their_job_and_show_nothing() -> None:
    keys, job_id = SecretKeys(os.urandom(32)), new_id()
    sealed = keys.seal(job_id, SECRETS)
    assert sealed is not None and b"hf_abc" not in sealed and keys.seal(job_id, SECRETS) != sealed
    assert keys.open(job_id, sealed) == SECRETS
    with pytest.raises(Internal):
        keys.open(new_id(), sealed)


def test_the_previous_key_still_opens_and_a_foreign_one_does_not() -> None:
    old, job_id = SecretKeys(os.urandom(32)), new_id()
    sealed = old.seal(job_id, SECRETS)
    assert SecretKeys.of([os.urandom(32), old.current]).open(job_id, sealed) == SECRETS
    with pytest.raises(Internal, match="key"):
        SecretKeys(os.urandom(32)).open(job_id, sealed)


def test_no_secrets_are_no_bytes() -> None:
    keys = SecretKeys(os.urandom(32))
    assert keys.seal(new_id(), {}) is None and keys.open(new_id(), None) == {}


def test_keys_hide_their_value_and_insist_on_their_length() -> None:
    assert "x" * 32 not in repr(SecretKeys(b"x" * 32))
    with pytest.raises(ValueError, match="32 bytes"):
        SecretKeys(b"short")

"""What may be loaded, and who has to allow what else."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from mistudio_models.domain.models import Model, ModelFacts, ModelStatus, WeightFiles
from mistudio_models.domain.policy import Policy
from mistudio_models.service.permissions import require_loadable
from mistudio_servicekit.errors import PickleRefused, RemoteCodeRefused, WeightsMissing

_SOME_ID = UUID("0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e")
_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def _model(weight_files: WeightFiles = WeightFiles.SAFETENSORS, *, needs_remote_code: bool = False) -> Model:
    facts = ModelFacts(weight_files=weight_files, needs_remote_code=needs_remote_code)
    names = "Tiny", ModelStatus.READY, "tiny/gpt", "main", "0" * 40
    return Model(_SOME_ID, *names, facts, 1, 1, None, _SOME_ID, _SOME_TIME, _SOME_TIME)


def test_safetensors_need_nobodys_leave():
    require_loadable(_model(), Policy(), trust_remote_code=False)


def test_a_model_without_weights_that_are_loaded_here_is_refused():
    for weight_files in (WeightFiles.NONE, WeightFiles.OTHER):
        with pytest.raises(WeightsMissing, match="safetensors"):
            require_loadable(_model(weight_files), Policy(True, True), trust_remote_code=True)


def test_pickles_need_the_operators_leave():
    with pytest.raises(PickleRefused, match="MISTUDIO_ALLOW_PICKLE"):
        require_loadable(_model(WeightFiles.PICKLE), Policy(), trust_remote_code=True)
    require_loadable(_model(WeightFiles.PICKLE), Policy(allow_pickle=True), trust_remote_code=False)


@pytest.mark.parametrize(
    ("trusted", "allowed", "named", "silent"),
    [
        (False, True, ["the request does not allow", "trust_remote_code"], ["MISTUDIO_ALLOW_REMOTE_CODE"]),
        (True, False, ["the operator does not allow", "MISTUDIO_ALLOW_REMOTE_CODE"], ["set trust_remote_code"]),
        (False, False, ["neither the request nor the operator", "MISTUDIO_ALLOW_REMOTE_CODE", "set trust"], []),
    ],
)
def test_code_of_the_repository_needs_two_leaves_and_the_missing_one_is_named(trusted, allowed, named, silent):
    with pytest.raises(RemoteCodeRefused) as caught:
        require_loadable(_model(needs_remote_code=True), Policy(allow_remote_code=allowed), trust_remote_code=trusted)
    assert all(word in caught.value.message for word in named)
    assert not any(word in caught.value.message for word in silent)


def test_code_of_the_repository_is_run_with_both_leaves():
    require_loadable(_model(needs_remote_code=True), Policy(allow_remote_code=True), trust_remote_code=True)

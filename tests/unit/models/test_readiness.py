"""A model whose files are not complete is refused with why."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from mistudio_models.domain.models import Model, ModelFacts, ModelStatus
from mistudio_models.service.readiness import require_ready
from mistudio_servicekit.errors import DiskFull, ModelNotReady

_SOME_ID = UUID("0197f2a4-5c3e-7b1a-9d2f-3e4a5b6c7d8e")
_SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_MODEL = Model(
    _SOME_ID, "Tiny", ModelStatus.READY, "tiny/gpt", "main", "0" * 40, ModelFacts(), 1, 1, None, _SOME_ID, _SOME_TIME,
    _SOME_TIME,
)  # fmt: skip


def test_a_complete_model_is_given_back() -> None:
    assert require_ready(_MODEL) is _MODEL


def test_a_download_that_failed_is_told_with_its_own_error() -> None:
    failed = DiskFull("The store lacks 5 GB", next_step="Delete something")
    model = replace(_MODEL, status=ModelStatus.ERROR, error=failed.to_record())
    with pytest.raises(ModelNotReady, match="is ERROR, not READY: The store lacks 5 GB") as caught:
        require_ready(model)
    assert "Download it again" in caught.value.next_step


@pytest.mark.parametrize("status", [ModelStatus.DOWNLOADING, ModelStatus.CANCELLED, ModelStatus.ERROR])
def test_every_other_status_has_a_next_step(status: ModelStatus) -> None:
    with pytest.raises(ModelNotReady, match=f"tiny/gpt.* is {status}, not READY") as caught:
        require_ready(replace(_MODEL, status=status))
    assert "ownload" in caught.value.next_step

"""The export's handler by itself."""

import hashlib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mistudio_datasets.domain.views import View, ViewMode
from mistudio_datasets.jobs import export
from mistudio_jobs.testing import RecordingContext
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import DiskFull, JobCancelled, TokenizationNotFound
from mistudio_servicekit.storage import Area, Store

from .stored_tokens import store_tokens_with_source


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def payload(store: Store) -> dict[str, Any]:
    """To export a tokenization that is in the store."""
    tokenization_id = new_id()
    store_tokens_with_source(store.epoch(Area.TOKENIZATIONS, tokenization_id, 3), [list(range(100))] * 20)
    return {
        "tokenization_id": str(tokenization_id),
        "tokenization_epoch": 3,
        "dataset": "tiny/texts",
        "view": View(ViewMode.PACKED, 8).to_json(),
        "shuffle_seed": 1,
    }


def _context(store: Store, epoch: int, **more: Any) -> RecordingContext:
    folder = store.epoch(Area.EXPORTS, UUID(int=1), epoch)
    folder.mkdir(parents=True)
    return RecordingContext(folder, store, epoch=epoch, **more)


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_an_attempt_after_one_that_was_stopped_writes_the_same_bytes(store: Store, payload: dict[str, Any]) -> None:
    whole = _context(store, 1)
    result = export.run(payload, whole)
    assert (result["sequences"], result["tokens"]) == (250, 2000)
    assert whole.checks > 1
    for check in range(1, whole.checks + 1):
        with pytest.raises(JobCancelled):
            export.run(payload, _context(store, 2 * check, cancel_after=check))
        again = _context(store, 2 * check + 1)
        assert export.run(payload, again) == result
        assert _digests(again.folder) == _digests(whole.folder)


def test_a_store_without_room_is_told_before_the_first_byte(store: Store, payload: dict[str, Any]) -> None:
    context = _context(Store(store.root, quota_bytes=500_000), 1)
    with pytest.raises(DiskFull, match="The export needs"):
        export.run(payload, context)
    assert list(context.folder.iterdir()) == []


def test_a_tokenization_that_was_deleted_meanwhile_is_told(store: Store, payload: dict[str, Any]) -> None:
    with pytest.raises(TokenizationNotFound, match=payload["tokenization_id"]):
        export.run(payload | {"tokenization_epoch": 4}, _context(store, 1))

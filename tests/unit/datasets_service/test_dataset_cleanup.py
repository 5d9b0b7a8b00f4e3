"""What a cleanup removes."""

import json
from pathlib import Path

import pytest

from mistudio_datasets.jobs import cleanup
from mistudio_datasets.service.cleanup import cleanup_payload, upload_cleanup_payload
from mistudio_jobs.testing import RecordingContext
from mistudio_servicekit.database import new_id
from mistudio_servicekit.errors import JobCancelled
from mistudio_servicekit.storage import Area, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def _fill(store: Store, area: Area, resource_id: object, *epochs: int) -> list[Path]:
    folders = [store.epoch(area, resource_id, epoch) for epoch in epochs]  # type: ignore[arg-type]  # a UUID
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    return folders


def _run(store: Store, payload: dict[str, object]) -> None:
    cleanup.run(json.loads(json.dumps(payload)), RecordingContext(store.root, store))


def test_every_folder_of_the_named_resources_goes_and_no_other(store: Store) -> None:
    dataset, tokenization, sibling = new_id(), new_id(), new_id()
    _fill(store, Area.DATASETS, dataset, 0, 3)
    _fill(store, Area.TOKENIZATIONS, tokenization, 4)
    (kept,) = _fill(store, Area.TOKENIZATIONS, sibling, 5)
    _run(store, cleanup_payload([(Area.DATASETS, dataset), (Area.TOKENIZATIONS, tokenization)]))
    assert list(store.root.glob("*/*")) == [kept.parent]
    _run(store, cleanup_payload([(Area.DATASETS, dataset)]))


def test_an_upload_goes_and_what_was_made_of_it_stays(store: Store) -> None:
    dataset = new_id()
    upload, made = _fill(store, Area.DATASETS, dataset, 0, 7)
    _run(store, upload_cleanup_payload(dataset))
    assert (upload.exists(), made.exists()) == (False, True)


def test_a_cancelled_cleanup_stops(store: Store) -> None:
    (folder,) = _fill(store, Area.DATASETS, dataset := new_id(), 1)
    with pytest.raises(JobCancelled):
        cleanup.run(cleanup_payload([(Area.DATASETS, dataset)]), RecordingContext(store.root, store, cancel_after=1))
    assert folder.exists()

"""Nothing leaves the store, and a full store is told in time."""

from pathlib import Path
from uuid import uuid4

import pytest

from mistudio_servicekit.errors import DiskFull, UnsafePath
from mistudio_servicekit.storage import Area, Store, confined, remove_tree


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "", ".", "a\\..\\b", "a\0b"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafePath):
        confined(tmp_path, name)


def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(UnsafePath):
        confined(inside, "link/x")


@pytest.mark.parametrize("name", ["a", "a/b.txt", "naïve name/数据.parquet", "...", "a/..b"])
def test_plain_names_stay_inside(tmp_path: Path, name: str) -> None:
    assert confined(tmp_path, name).is_relative_to(tmp_path)


def test_paths_are_built_from_ids_and_epochs_only(tmp_path: Path) -> None:
    resource = uuid4()
    assert Store(tmp_path).epoch(Area.MODELS, resource, 3) == tmp_path / "models" / str(resource) / "3"
    with pytest.raises(ValueError, match="badly formed"):
        Store(tmp_path).resource(Area.MODELS, "../x")  # type: ignore[arg-type]  # what a careless caller would do


def test_a_quota_counts_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0" * 600)
    store = Store(tmp_path, quota_bytes=1000)
    store.require_free(400, "this")
    with pytest.raises(DiskFull, match="401 bytes but the store has 400"):
        store.require_free(401, "that")


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "never")

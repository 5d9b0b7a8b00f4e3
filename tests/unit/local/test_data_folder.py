from __future__ import annotations

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mistudio_local.datafolder import FolderLock
from mistudio_local.errors import DataFolderInUse
from mistudio_local.secretfiles import ensure_key_file, write_private


def test_a_locked_folder_is_refused_until_it_is_released(tmp_path: Path) -> None:
    lock = FolderLock.acquire(tmp_path, "first")
    with pytest.raises(DataFolderInUse, match=f"uses the data folder {tmp_path}"):
        FolderLock.acquire(tmp_path, "second")
    lock.release()
    second = FolderLock.acquire(tmp_path, "second")
    assert (lock.last_stack_id, second.last_stack_id) == (None, "first")
    second.release()


def test_the_lock_of_a_dead_stack_is_waited_for_while_its_watchdog_clears_away(tmp_path: Path) -> None:
    script = """
import subprocess, sys
from pathlib import Path
from mistudio_local.datafolder import FolderLock
lock = FolderLock.acquire(Path(sys.argv[1]), "dead")
subprocess.Popen(["sleep", "1.5"], pass_fds=[lock.descriptor], stdout=subprocess.DEVNULL)
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    lock = FolderLock.acquire(tmp_path, "next")
    assert lock.last_stack_id == "dead"
    lock.release()


def test_a_key_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = ensure_key_file(tmp_path / "key")
    text = path.read_text()
    assert len(base64.b64decode(text)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_key_file(path).read_text() == text


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_private(path, "long old text")
    write_private(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]

"""Room that is reserved is free for nobody else, as long as its owner lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from mistudio_servicekit import reservations
from mistudio_servicekit.errors import DiskFull
from mistudio_servicekit.storage import RESERVATIONS_FOLDER, Store, folder_bytes

_OWNER = """
import sys
from pathlib import Path
from mistudio_servicekit.storage import Store
root, needed = sys.argv[1:]
with Store(Path(root), quota_bytes=1000).reserve(int(needed), "Another process") as room:
    print("reserved", flush=True)
    for remaining in sys.stdin:
        room.shrink_to(int(remaining))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with room for 1,000 bytes."""
    return Store(tmp_path / "store", quota_bytes=1000)


@pytest.fixture
def owner(store: Store) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds 700 bytes of the store; it shrinks them to each number that it is sent."""
    command = [sys.executable, "-c", _OWNER, str(store.root), "700"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "reserved\n"
    yield process
    process.kill()
    process.communicate()


def _until(condition: Callable[[], bool]) -> None:
    """Another process and the clock tell nobody when they are so far."""
    end = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def _files(store: Store) -> list[str]:
    return [path.name for path in (store.root / RESERVATIONS_FOLDER).glob("*.*")]


def test_room_that_is_reserved_is_not_free_and_is_free_again_afterwards(store: Store) -> None:
    with store.reserve(700, "The first"):
        assert store.free_bytes() == 300
        store.require_free(300, "A small one")
        with pytest.raises(DiskFull):
            store.require_free(301, "A large one")
    assert store.free_bytes() == 1000
    assert _files(store) == []


def test_two_that_fit_only_one_at_a_time_are_one_after_the_other(store: Store) -> None:
    with store.reserve(700, "The first"), pytest.raises(DiskFull) as refused, store.reserve(400, "The second"):
        pytest.fail("the second was let in")
    with store.reserve(400, "The second"):
        pass
    assert "The second needs 400 bytes but the store has 300 bytes free" in refused.value.problem
    assert "700 that running jobs have reserved (The first: 700)" in refused.value.problem
    assert refused.value.next_step.startswith("Wait until these have ended")


def test_bytes_that_have_landed_count_once(store: Store) -> None:
    with store.reserve(700, "The first") as room:
        (store.root / "file").write_bytes(bytes(600))
        room.shrink_to(100)
        _until(lambda: store.free_bytes() == 300)
        room.shrink_to(-5)
        _until(lambda: store.free_bytes() == 400)


def test_what_other_processes_reserve_and_shrink_counts(store: Store, owner: subprocess.Popen[str]) -> None:
    assert store.free_bytes() == 300
    assert owner.stdin is not None
    owner.stdin.write("200\n")
    owner.stdin.flush()
    _until(lambda: store.free_bytes() == 800)


def test_a_killed_owners_room_is_free_at_once(store: Store, owner: subprocess.Popen[str]) -> None:
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    with store.reserve(1000, "All"):
        assert len(_files(store)) == 1


def test_a_failure_inside_gives_the_room_back(store: Store) -> None:
    with pytest.raises(KeyError), store.reserve(700, "The first"):
        raise KeyError
    assert store.free_bytes() == 1000


def test_of_many_threads_at_once_only_as_many_get_room_as_fit(store: Store) -> None:
    begun, inside = threading.Barrier(32), threading.Event()

    def take(_: int) -> bool:
        begun.wait()
        try:
            with store.reserve(300, "One of many"):
                inside.wait(100)
                return True
        except DiskFull:
            return False
        finally:
            refused.append(1)
            if len(refused) >= 29:
                inside.set()

    refused: list[int] = []
    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(take, range(32))) == 3


def test_another_hosts_reservation_counts_until_it_is_silent_for_a_minute(store: Store) -> None:
    folder = store.root / RESERVATIONS_FOLDER
    folder.mkdir(parents=True)
    path = folder / "other.room"
    path.write_bytes(reservations.Reservation(700, "Another host", "another boot").to_record())
    assert store.free_bytes() == 300
    silent = time.time() - reservations.STALE_SECONDS - 1
    os.utime(path, (silent, silent))
    assert store.free_bytes() == 1000
    assert not path.exists()


def test_a_held_reservation_shows_that_it_lives(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reservations, "_TOUCH_SECONDS", 0.0)
    with store.reserve(700, "The first"):
        (path,) = (store.root / RESERVATIONS_FOLDER).glob("*.room")
        os.utime(path, (0, 0))
        _until(lambda: path.stat().st_mtime > 0)
        assert store.free_bytes() == 300


def test_a_reservation_that_is_no_longer_one_counts_nothing_and_is_removed(store: Store) -> None:
    folder = store.root / RESERVATIONS_FOLDER
    folder.mkdir(parents=True)
    for number, content in enumerate([b"", b"not JSON", b"[]", b'{"remaining_bytes": 5}']):
        (folder / f"{number}.room").write_bytes(content)
    assert store.free_bytes() == 1000
    assert _files(store) == []


def test_the_reservations_themselves_count_nowhere(store: Store) -> None:
    with ExitStack() as rooms:
        for _ in range(10):
            rooms.enter_context(store.reserve(1, "One of ten"))
        assert folder_bytes(store.root / RESERVATIONS_FOLDER) > 1000
        assert store.free_bytes() == 990


def test_the_largest_reservations_are_named(store: Store) -> None:
    with ExitStack() as rooms:
        for size in (10, 400, 20, 300, 30):
            rooms.enter_context(store.reserve(size, f"Work of {size} " + "x" * 500))
        with pytest.raises(DiskFull) as refused:
            store.require_free(900, "More")
    named = [f"Work of {size} " in refused.value.problem for size in (400, 300, 30, 20, 10)]
    assert named == [True, True, True, False, False]
    assert "; 2 more)" in refused.value.problem
    assert len(refused.value.problem) < 1000

"""What a worker can hold models with: its memory, within every limit that is set."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from mistudio_models.domain.policy import Policy
from mistudio_models.engine import devices
from mistudio_models.engine.devices import CpuDevice
from mistudio_models.engine.keeper import make_keeper, operator_policy, worker_settings

GB = 10**9


def settings(pool: str = "cpu", budget_bytes: int = 0, memory_limit_bytes: int | None = None) -> dict[str, str]:
    return dict(
        worker_settings(
            worker="w",
            pool=pool,
            policy=Policy(allow_pickle=True),
            budget_bytes=budget_bytes,
            memory_limit_bytes=memory_limit_bytes,
        )
    )


def test_the_cpu_has_the_memory_of_its_host_and_a_name() -> None:
    (device,) = CpuDevice().now()
    assert device.id == "cpu" and device.name
    assert 0 < device.free_bytes < device.total_bytes <= psutil.virtual_memory().total


def test_a_workers_own_limit_counts_less_what_the_process_has_taken() -> None:
    limit = psutil.Process(os.getpid()).memory_info().rss + GB
    (device,) = CpuDevice(limit).now()
    assert device.total_bytes == limit
    assert device.free_bytes == pytest.approx(GB, abs=200e6)


def test_the_limit_of_a_container_counts_less_what_the_kernel_does_not_take_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("max", "1000000"), ("current", "600000"), ("stat", "anon 1\ninactive_file 250000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    limit, used, statistics = (tmp_path / f"memory.{name}" for name in ("max", "current", "stat"))
    group = devices._ControlGroup(limit, used, statistics, "inactive_file")
    monkeypatch.setattr(devices, "_CONTROL_GROUPS", (group,))
    (device,) = CpuDevice().now()
    assert (device.total_bytes, device.free_bytes) == (1_000_000, 650_000)
    (tmp_path / "memory.max").write_text("max")
    assert CpuDevice().now()[0].total_bytes == psutil.virtual_memory().total


def test_a_cpu_worker_holds_half_of_its_memory_unless_it_is_told_otherwise() -> None:
    assert make_keeper(settings(memory_limit_bytes=2 * GB)).host_state().budget_bytes == GB
    assert make_keeper(settings(budget_bytes=123)).host_state().budget_bytes == 123


def test_a_worker_for_gpus_has_gpus_only() -> None:
    cache = make_keeper(settings("gpu"))
    assert cache.kind == "cuda"
    assert all(device.id.startswith("cuda:") for device in cache.host_state().devices)


def test_what_the_operator_allows_reaches_the_worker() -> None:
    assert operator_policy(settings()) == Policy(allow_pickle=True, allow_remote_code=False)

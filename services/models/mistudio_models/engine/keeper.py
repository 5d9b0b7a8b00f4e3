"""Makes the cache of a worker's models, in the worker's child process."""

from __future__ import annotations

from collections.abc import Mapping

from mistudio_models.domain.policy import Policy
from mistudio_models.engine.cache import ModelCache
from mistudio_models.engine.devices import CpuDevice, Devices

GPU_POOL = "gpu"
POOL = "pool"
"""The worker's setting that names its pool: workers of the pool `gpu` load models on GPUs, others on the CPU."""
BUDGET_BYTES = "model_budget_bytes"
"""The worker's setting with the most bytes of weights that it holds; 0 leaves it to the size of its memory."""
MEMORY_LIMIT_BYTES = "memory_limit_bytes"
"""The worker's setting with the resident memory at which its child is ended; 0 where it is not."""

WORKER = "worker"
"""The worker's setting with its name."""
ALLOW_PICKLE = "allow_pickle"
"""The worker's setting that says whether weights may be taken from pickles: `true` or `false`."""
ALLOW_REMOTE_CODE = "allow_remote_code"
"""The worker's setting that says whether code of a model's repository may run: `true` or `false`."""

_TRUE = "true"
_CPU_SHARE = 0.5
_GPU_SHARE = 0.9


def make_keeper(settings: Mapping[str, str]) -> ModelCache:
    """The cache for a worker with these settings; see `mistudio_jobs.keeping.MakeKeeper`."""
    on_gpu = settings[POOL] == GPU_POOL
    devices = _gpus() if on_gpu else CpuDevice(int(settings[MEMORY_LIMIT_BYTES]))
    total = sum(device.total_bytes for device in devices.now())
    share = _GPU_SHARE if on_gpu else _CPU_SHARE
    return ModelCache(devices, int(settings[BUDGET_BYTES]) or int(total * share))


def worker_settings(
    *, worker: str, pool: str, policy: Policy, budget_bytes: int, memory_limit_bytes: int | None
) -> Mapping[str, str]:
    """The settings that `make_keeper` and `operator_policy` read.

    Args:
        worker: its name.
        pool: whose jobs it takes.
        policy: what the operator allows.
        budget_bytes: see `BUDGET_BYTES`.
        memory_limit_bytes: see `MEMORY_LIMIT_BYTES`.
    """
    return {
        WORKER: worker,
        POOL: pool,
        ALLOW_PICKLE: str(policy.allow_pickle).lower(),
        ALLOW_REMOTE_CODE: str(policy.allow_remote_code).lower(),
        BUDGET_BYTES: str(budget_bytes),
        MEMORY_LIMIT_BYTES: str(memory_limit_bytes or 0),
    }


def operator_policy(settings: Mapping[str, str]) -> Policy:
    """What the operator allows on the worker with these settings."""
    return Policy(settings[ALLOW_PICKLE] == _TRUE, settings[ALLOW_REMOTE_CODE] == _TRUE)


def _gpus() -> Devices:
    # Imported here as it brings torch along, which workers without a GPU do without until they load a model.
    from mistudio_models.engine.gpus import GpuDevices

    return GpuDevices()

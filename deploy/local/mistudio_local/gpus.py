"""Whether this machine has a GPU that models can be loaded on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_TOOL_SECONDS = 5.0


def has_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether an NVIDIA GPU is here. torch is not asked: it takes seconds to import, and may be built without CUDA.

    Args:
        devices: folder of the device files.
    """
    return any(devices.glob("nvidia[0-9]*")) or _tool_lists_one()


def gpu_workers() -> int:
    """Workers for GPUs that a stack has unless it is told otherwise: one where there is a GPU."""
    return 1 if has_gpu() else 0


def _tool_lists_one() -> bool:
    """Whether NVIDIA's tool knows one: under WSL a GPU has no device file of its own."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listed = subprocess.run([tool, "-L"], capture_output=True, timeout=_TOOL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.returncode == 0 and b"GPU" in listed.stdout

"""The GPUs of a worker. Imported by workers of the pool `gpu` only: it brings torch along."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mistudio_models.domain.loading import Device
from mistudio_models.engine.allocator import give_back_memory


class GpuDevices:
    """Every GPU that this process sees (`CUDA_VISIBLE_DEVICES`)."""

    kind = "cuda"

    def now(self) -> Sequence[Device]:
        """See `Devices`. What torch holds back for its next tensors is free."""
        return [_device(index) for index in range(torch.cuda.device_count())]

    def give_back(self) -> None:
        """See `Devices`."""
        give_back_memory()


def _device(index: int) -> Device:
    free, total = torch.cuda.mem_get_info(index)
    held_back = torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)
    return Device(f"cuda:{index}", torch.cuda.get_device_name(index), total, free + held_back)

"""How much memory a model takes, measured: its tensors exactly, and the highest while it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from bitsandbytes.autograd._functions import MatmulLtState
from bitsandbytes.functional import QuantState
from torch import nn

from mistudio_models.engine.allocator import give_back_memory

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
# What resets the highest resident size to the present one: see proc_pid_clear_refs(5).
_RESET_PEAK = "5"
_KIB = 1024


def weights_bytes(model: nn.Module) -> int:
    """Bytes of all that a model keeps: parameters, buffers, and the constants that its quantization needs.

    Counted are the storages behind the tensors, each once, however many tensors share it.
    """
    storages = {}
    for tensor in _tensors(model):
        storage = tensor.untyped_storage()
        storages[tensor.device, storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    for module in model.modules():
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            yield tensor
            # A quantized weight carries its constants as attributes, and they move to its module with the first use.
            yield from _constants(vars(tensor))
        yield from _constants(vars(module))


def _constants(attributes: dict[str, Any]) -> Iterator[torch.Tensor]:
    for value in attributes.values():
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, QuantState | MatmulLtState):
            yield from _constants(vars(value))


class PeakMemory:
    """A block's highest memory above what there was before it, in bytes; known in `bytes` when the block is left.

    On a GPU it is what torch's allocator had handed out, exactly. On a CPU it is the resident size of this process as
    the kernel keeps it, to which everything counts: torch's tensors, those inside of native code, Python's own objects.

    Args:
        device: that is measured, for example `cuda:0`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        give_back_memory()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            # Where the kernel forbids it the peak is that of the process's life: an upper bound.
            with suppress(OSError):
                _CLEAR_REFS.write_text(_RESET_PEAK)
            self._before = _status_bytes("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        on_gpu = self._device.type == "cuda"
        highest = torch.cuda.max_memory_allocated(self._device) if on_gpu else _status_bytes("VmHWM")
        self.bytes = max(0, highest - self._before)


def _status_bytes(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * _KIB for line in lines if line.startswith(f"{name}:"))

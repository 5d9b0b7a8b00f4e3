"""What this process does with memory that it has freed."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
# Where glibc begins, before it grows the threshold with what is freed; and where it ends.
_LEAST_THRESHOLD_BYTES = 128 * 1024
_GROWN_THRESHOLD_BYTES = 32 * 1024 * 1024


def give_back_memory() -> None:
    """Return memory that nothing uses any more to the device and to the operating system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    _of_glibc("malloc_trim", 0)


@contextmanager
def freed_memory_returned() -> Iterator[None]:
    """A block in which freed tensors go back to the operating system at once, instead of being kept for the next ones.

    A load frees as much as it keeps, and what it frees fits nothing that comes later: kept, it is up to several times
    the model. Elsewhere, where tensors of the same sizes come again and again, keeping is faster.
    """
    _of_glibc("mallopt", _M_MMAP_THRESHOLD, _LEAST_THRESHOLD_BYTES)
    try:
        yield
    finally:
        _of_glibc("mallopt", _M_MMAP_THRESHOLD, _GROWN_THRESHOLD_BYTES)


def _of_glibc(function: str, *arguments: int) -> None:
    """Call a function that glibc has; other C libraries give freed memory back by themselves."""
    found = getattr(ctypes.CDLL(None), function, None)
    if found is not None:
        found(*arguments)

"""From what torch, transformers and bitsandbytes raise to typed errors."""

from __future__ import annotations

import errno
import logging
import re
from types import TracebackType
from typing import Self

import torch

from mistudio_servicekit.errors import ArchitectureUnsupported, MistudioError, OutOfMemory, UnsupportedFormat

FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What those libraries raise where a model cannot be loaded or computed with; typed errors are none of them."""

# What torch's allocators say: they have no class of their own on a CPU.
_OUT_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|OutOfMemoryError|MemoryError")


class TransformersReport(logging.Handler):
    """Inside its block it keeps what transformers logs while it loads, instead of letting it be logged.

    Of a load that fails its exceptions say less; of one that succeeds `completeness` says what matters.
    """

    _LOGGER = logging.getLogger("transformers.modeling_utils")

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the record's text."""
        self.text += record.getMessage()

    def __enter__(self) -> Self:
        self._LOGGER.addHandler(self)
        self._LOGGER.propagate = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._LOGGER.removeHandler(self)
        self._LOGGER.propagate = True


def typed_fault(fault: Exception, report: str, how: str) -> MistudioError:
    """The typed error for one of `FAULTS`.

    Args:
        fault: as it was raised.
        report: what transformers has logged before.
        how: the model is held, for example `held in NF4 on cpu`.
    """
    if _is_out_of_memory(fault, report):
        return OutOfMemory(
            f"There is too little memory for the model, {how}",
            next_step="Load it in a smaller format, or unload other models first",
        )
    if isinstance(fault, ImportError):
        return UnsupportedFormat(
            f"Loading the model, {how}, takes a library that is not installed here ({_brief(fault)})",
            next_step="Choose a repository whose weights are not quantized, or have the operator install the library",
        )
    return ArchitectureUnsupported(
        f"The installed transformers cannot load and run the model, {how} ({_brief(fault)})",
        next_step="Choose another format or another revision of the model",
    )


def _is_out_of_memory(fault: Exception, report: str) -> bool:
    if isinstance(fault, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(fault, OSError) and fault.errno == errno.ENOMEM:
        return True
    # What fails while weights are converted is only in the report.
    return isinstance(fault, RuntimeError) and bool(_OUT_OF_MEMORY.search(f"{fault}{report}"))


def _brief(fault: Exception) -> str:
    """The fault in a line."""
    text = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {text[:200]}"

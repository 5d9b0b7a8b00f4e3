"""What is set for every load, so that its memory is small and can be told beforehand.

The estimate in `memory` holds for loads with these switches only. Nothing needs to be set so that a load stays away
from the Hub: it is given a configuration and weights, and `local_files_only`.
"""

from __future__ import annotations

import os
from types import MappingProxyType

SWITCHES = MappingProxyType(
    {
        # Tensors are read one after another instead of by threads that run ahead of their use: where experts are
        # fused, those would hold every expert of every layer before the first layer is put together.
        "HF_DEACTIVATE_ASYNC_LOAD": "1",
    }
)


def set_switches() -> None:
    """Set the switches in this process's environment, at any time before a load."""
    os.environ.update(SWITCHES)

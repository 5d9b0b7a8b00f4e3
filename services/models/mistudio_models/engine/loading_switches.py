"""What is set for every load, so that its memory is small and can be told beforehand.

Imported before transformers loads anything; the estimate in `memory` holds for loads with these switches only.
"""

from __future__ import annotations

import os
from types import MappingProxyType

SWITCHES = MappingProxyType(
    {
        # Tensors are read one after another instead of by threads that run ahead of their use: where experts are
        # fused, those would hold every expert of every layer before the first layer is put together.
        "HF_DEACTIVATE_ASYNC_LOAD": "1",
        # A model comes from its folder, or not at all.
        "HF_HUB_OFFLINE": "1",
    }
)


def set_switches() -> None:
    """Set the switches in this process's environment.

    The offline one counts only where this is called before `huggingface_hub` is imported; the other at any time.
    """
    os.environ.update(SWITCHES)

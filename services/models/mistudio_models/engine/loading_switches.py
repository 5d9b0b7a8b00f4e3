"""What is set for every load, so that its memory is small and can be told beforehand.

The estimate in `memory` holds for loads with this set only. Nothing needs to be set so that a load stays away from the
Hub: it is given a configuration and weights, and `local_files_only`.
"""

from __future__ import annotations

import os


def set_switches() -> None:
    """Have this process read tensors one after another, from its next load on.

    Threads that run ahead of their use would hold every expert of every layer, where experts are fused, before the
    first layer is put together.
    """
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"

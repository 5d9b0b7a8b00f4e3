"""Models with random BF16 weights, made for one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from tests.model_families import make_model


def made_model(family: str, folder: Path, **config_changes: Any) -> Path:
    """Write a model of the family to `folder`; see `make_model`."""
    disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers has no types
    return make_model(family, folder, dtype=torch.bfloat16, **config_changes)

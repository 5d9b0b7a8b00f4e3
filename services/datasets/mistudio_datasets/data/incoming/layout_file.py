"""The layout of a complete dataset, kept beside its files: it may name a hundred thousand of them."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from mistudio_datasets.domain.datasets import Layout

_LAYOUT_FILE = "layout.json"
_CACHED_LAYOUTS = 64


def write_layout(folder: Path, layout: Layout) -> None:
    """Keep `layout` in the epoch folder of its dataset."""
    (folder / _LAYOUT_FILE).write_text(json.dumps(layout.to_json(), ensure_ascii=False), encoding="utf-8")


@lru_cache(maxsize=_CACHED_LAYOUTS)
def read_layout(folder: Path) -> Layout:
    """The layout that `write_layout` kept in `folder`. A complete dataset never changes, so it is read once.

    Raises:
        FileNotFoundError: the dataset is gone.
    """
    return Layout.from_json(json.loads((folder / _LAYOUT_FILE).read_text(encoding="utf-8")))

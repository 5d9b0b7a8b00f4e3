"""Model repositories as plain folders of the test's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file


@dataclass
class FolderSource:
    """A model repository in a folder, read like one on the Hub; counts what is read."""

    folder: Path
    bytes_read: int = field(default=0)
    reads: int = field(default=0)

    @property
    def sizes(self) -> Mapping[str, int]:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in files}

    def read(self, path: str, start: int, length: int) -> bytes:
        content = (self.folder / path).read_bytes()[start : start + length]
        self.bytes_read += len(content)
        self.reads += 1
        return content

    def write_json(self, path: str, value: Any) -> None:
        (self.folder / path).write_text(json.dumps(value))

    def write_weights(self, path: str, shapes: Mapping[str, tuple[int, ...]], dtype: str = "float32") -> None:
        save_file({name: np.zeros(shape, dtype) for name, shape in shapes.items()}, self.folder / path)


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    """An empty repository."""
    return FolderSource(tmp_path)

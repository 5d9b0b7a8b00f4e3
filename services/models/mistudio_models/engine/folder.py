"""A model's repository in a folder of the store."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mistudio_servicekit.storage import confined


@dataclass(frozen=True)
class FolderSource:
    """The model in a folder; see `ModelSource`.

    Attributes:
        folder: that holds the repository's files.
    """

    folder: Path

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of every file by its posix path."""
        paths = [Path(base) / name for base, _, names in os.walk(self.folder) for name in names]
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in paths}

    def read(self, path: str, start: int, length: int) -> bytes:
        """A range of the file `path`.

        Raises:
            UnsafePath: it leads out of the folder.
        """
        with confined(self.folder, path).open("rb") as file:
            file.seek(start)
            return file.read(length)

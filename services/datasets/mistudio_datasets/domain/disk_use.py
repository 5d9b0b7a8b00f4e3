"""What a dataset and all that was made of it take in the store."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DiskUse:
    """Bytes in the store.

    Attributes:
        dataset_bytes: the dataset's own files.
        derived_bytes: its word index and column statistics.
        tokenization_bytes: its tokenizations.
        export_bytes: exports of its tokenizations.
    """

    dataset_bytes: int = 0
    derived_bytes: int = 0
    tokenization_bytes: int = 0
    export_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All of them."""
        return self.dataset_bytes + self.derived_bytes + self.tokenization_bytes + self.export_bytes

"""Rows with scores, best first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class RankedPage:
    """Some of the rows that a search for words found, best first; where scores are equal, in an order that stays.

    Attributes:
        rows: their numbers in the split, from 0.
        scores: how well each matches; higher is better.
        total: rows that match in all.
    """

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    total: int


def best_of(
    rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], most: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The `most` best, in order."""
    order = np.lexsort((rows, -scores))[:most]
    return rows[order], scores[order]

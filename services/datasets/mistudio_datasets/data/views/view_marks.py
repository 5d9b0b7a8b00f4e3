"""The special tokens that a view puts in, and where documents have them already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mistudio_datasets.data.tokens.manifest import SpecialIds
from mistudio_datasets.data.tokens.token_files import Ids, Ints, TokenFiles
from mistudio_datasets.domain.views import SpecialTokenPolicy, View

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Mark:
    """A special token that a view puts in.

    Attributes:
        id: its id.
        policy: where it is put; never NOWHERE.
        stored: whether any document holds it; where none does, no id needs to be read.
    """

    id: int
    policy: SpecialTokenPolicy
    stored: bool

    def missing(self, ids: Ids, places: Ints) -> Flags:
        """For each of `places` whether another id is there."""
        return ids[places] != self.id if self.stored else np.ones(len(places), np.bool_)


@dataclass(frozen=True)
class Marks:
    """The special tokens of a view; None for one that is put nowhere."""

    bos: Mark | None
    eos: Mark | None


def marks_of(files: TokenFiles, view: View, special: SpecialIds) -> Marks:
    """The special tokens that `view` puts in."""
    return Marks(_mark(files, special.bos, view.bos), _mark(files, special.eos, view.eos))


def _mark(files: TokenFiles, id_: int | None, policy: SpecialTokenPolicy) -> Mark | None:
    return None if id_ is None else Mark(id_, policy, files.occurrences(id_) > 0)

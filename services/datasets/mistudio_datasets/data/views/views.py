"""Views of a tokenization: what they keep and drop, and their sequences, any one or all of them at memory speed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from mistudio_datasets.data.tokens.manifest import special_ids
from mistudio_datasets.data.tokens.token_files import Ints, TokenFiles
from mistudio_datasets.data.views.view_packed import PackedPlan, plan_packed
from mistudio_datasets.data.views.view_sequences import SequenceBatch, ViewSequence
from mistudio_datasets.data.views.view_windows import WindowsPlan, plan_windows
from mistudio_datasets.domain.views import View, ViewFigures, ViewMode

_PLANS_KEPT = 64


class OpenView:
    """A view whose sequences can be read; made by `open_view`."""

    def __init__(self, files: TokenFiles, plan: PackedPlan | WindowsPlan) -> None:
        self._files = files
        self._plan = plan

    @property
    def figures(self) -> ViewFigures:
        """What the view keeps and drops."""
        return self._plan.figures

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return self._plan.figures.sequences

    def sequence(self, number: int) -> ViewSequence:
        """The sequence of this number, from 0; IndexError beyond the last."""
        return self.take(np.array([number])).sequence(0)

    def take(self, numbers: Ints) -> SequenceBatch:
        """The sequences of these numbers (int64, from 0), in this order; IndexError beyond the last.

        Read in the order of the store whatever their own, so a large shuffled batch costs little more than one in
        order.
        """
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < self.sequences:
            raise IndexError(f"the view has {self.sequences} sequences, not number {numbers.max()}")
        if np.all(numbers[1:] > numbers[:-1]):
            return self._plan.take(self._files, numbers)
        ordered, back = np.unique(numbers, return_inverse=True)
        return self._plan.take(self._files, ordered).reordered(back)

    def lengths(self, numbers: Ints) -> Ints:
        """Tokens of the sequences of these numbers, which rise (int64, from 0); no more ids are read than needed."""
        return self._plan.lengths(self._files, numbers)

    def release(self) -> None:
        """Give back the memory of what was read, which counts as this process's own as long as it is mapped."""
        self._files.release()

    def batches(self, order: Ints | None = None, batch: int = 1024) -> Iterator[SequenceBatch]:
        """Every sequence, or those that `order` numbers in its order, at most `batch` at a time."""
        count = self.sequences if order is None else len(order)
        for first in range(0, count, batch):
            end = min(count, first + batch)
            yield self.take(np.arange(first, end) if order is None else order[first:end])


def open_view(folder: Path, view: View) -> OpenView:
    """The view of the tokenization in `folder`, which must be complete.

    Raises:
        InvalidArgument: the view's numbers cannot be right, or it puts in a token that the model does not have;
            names the field `view.<field>`.
        FileNotFoundError: the folder is gone; raised while reading, too.
    """
    view.check()
    return OpenView(TokenFiles(folder), _plan(folder, view))


@lru_cache(maxsize=_PLANS_KEPT)
def _plan(folder: Path, view: View) -> PackedPlan | WindowsPlan:
    """A complete tokenization never changes, so it is gone through once for each view."""
    files, special = TokenFiles(folder), special_ids(folder, view)
    if view.mode is ViewMode.PACKED:
        return plan_packed(files, view, special)
    return plan_windows(files, view, special)

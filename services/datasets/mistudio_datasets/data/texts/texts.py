"""The texts of a split, ready to be encoded: one a row, whatever the rows hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mistudio_datasets.data.texts.cleaning import Cleaner, StepEffect
from mistudio_datasets.data.texts.rows import Rows

RowNumbers = npt.NDArray[np.int64]
"""Numbers of rows in their batch, from 0, ascending."""

IS_NULL = "is null"
"""Why a row without a value is an empty document."""

_SAMPLE_TEXT_CHARACTERS = 2048


@dataclass(frozen=True)
class Prepared:
    """What becomes of a batch of rows.

    Attributes:
        texts: one a row, without nulls.
        problems: the rows that are empty documents, by why they are.
        effects: what each step of cleaning did.
    """

    texts: pa.StringArray
    problems: Mapping[str, RowNumbers] = field(default_factory=dict)
    effects: tuple[StepEffect, ...] = ()


class Preparer(Protocol):
    """Makes a text of every row."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that it reads."""

    def prepare(self, rows: pa.RecordBatch) -> Prepared:
        """The texts of `rows`, which hold `columns`."""


class PlainText:
    """A column of text, cleaned if that is asked for; null texts are empty documents."""

    def __init__(self, column: str, cleaner: Cleaner) -> None:
        self.columns = (column,)
        self._cleaner = cleaner

    def prepare(self, rows: pa.RecordBatch) -> Prepared:
        """See `Preparer.prepare`."""
        column = cast(pa.StringArray, rows.column(0))
        # `fill_null` copies every text even where none is null.
        texts = cast(pa.StringArray, column.fill_null("")) if column.null_count else column
        problems = {IS_NULL: np.flatnonzero(column.is_null().to_numpy(False))} if column.null_count else {}
        texts, effects = self._cleaner.clean(texts)
        return Prepared(texts, problems, effects)


def _beginnings(texts: pa.StringArray) -> pa.StringArray:
    return pc.utf8_slice_codeunits(texts, 0, _SAMPLE_TEXT_CHARACTERS)


@dataclass(frozen=True)
class TextBatch:
    """Texts in row order; `bytes` is their share of `Texts.bytes`."""

    prepared: Prepared
    bytes: float

    @property
    def texts(self) -> pa.StringArray:
        """One a row, without nulls."""
        return self.prepared.texts


class Texts:
    """The texts of one split.

    Attributes:
        rows: number of them.
        bytes: size of what they are made of, uncompressed.
    """

    def __init__(self, rows: Rows, preparer: Preparer) -> None:
        self._rows = rows
        self._preparer = preparer
        self.rows = rows.count
        self.bytes = rows.bytes

    def sample(self) -> list[str]:
        """Beginnings of a few hundred texts from places spread evenly over the split."""
        # Cut before they become Python's: one text may have hundreds of megabytes, and four times that there.
        taken = (_beginnings(self._preparer.prepare(rows).texts) for rows in self._rows.sample())
        return [text for texts in taken for text in texts.to_pylist() if text]

    def batches(self, batch_bytes: int) -> Iterator[TextBatch]:
        """All texts in row order, in batches of about `batch_bytes`; the same batches every time."""
        for batch in self._rows.batches(batch_bytes):
            yield TextBatch(self._preparer.prepare(batch.rows), batch.bytes)

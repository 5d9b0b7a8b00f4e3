"""The rows of a split that fulfil conditions, in row order, without reading more of its files than needed."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from mistudio_datasets.data.browsing.parquet_footer_cache import cached_footer
from mistudio_datasets.data.browsing.query_conditions import Condition
from mistudio_datasets.data.browsing.query_engine import QueryEngine, Stop, literal_paths
from mistudio_datasets.domain.datasets import SplitInfo
from mistudio_servicekit.storage import confined

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

_MOST_FILES = 512
_MORE_FILES = 8


@dataclass(frozen=True)
class Found:
    """Matching rows in order, and how many match in the whole split if all were counted."""

    rows: tuple[int, ...]
    total: int | None


@dataclass(frozen=True)
class Scan:
    """Conditions on the rows of a split.

    Attributes:
        engine: reads the files.
        folder: the dataset's epoch folder.
        split: its files.
        names: all columns, in the order that the conditions count them.
        conditions: all must hold.
        mask: which rows may be found at all; None means every row.
    """

    engine: QueryEngine
    folder: Path
    split: SplitInfo
    names: Sequence[str]
    conditions: Sequence[Condition]
    mask: Mask | None

    def find(self, start: int, skip: int, limit: int, count_all: bool, stop: Stop) -> Found:
        """Up to `limit` rows from row `start` on, after passing over `skip` of them.

        Ends as soon as it has them, unless every row shall be counted. Raises what `QueryEngine.reader` does.
        """
        begin = 0 if count_all else start
        rows: list[int] = []
        total = 0
        for block in self._blocks(begin, None if count_all else skip + limit, stop):
            total += len(block)
            block = block[block >= start]
            rows += block[skip : skip + limit - len(rows)].tolist()
            skip = max(0, skip - len(block))
            if len(rows) == limit and not count_all:
                return Found(tuple(rows), None)
        return Found(tuple(rows), total if begin == 0 else None)

    def matching(self, stop: Stop) -> Mask:
        """Which of all rows of the split fulfil the conditions."""
        found = np.zeros(self.split.rows, np.bool_)
        for block in self._blocks(0, None, stop):
            found[block] = True
        return found

    def _blocks(self, start: int, most: int | None, stop: Stop) -> Iterator[Rows]:
        """Numbers of matching rows from row `start` on, the first `most` of them or more."""
        if self.mask is None:
            yield from self._scanned(start, most, stop)
        elif not self.conditions:
            yield np.flatnonzero(self.mask[start:]).astype(np.int64) + start
        else:
            for block in self._scanned(start, None, stop):
                yield block[self.mask[block]]

    def _scanned(self, start: int, most: int | None, stop: Stop) -> Iterator[Rows]:
        starts = list(accumulate(self.split.file_rows, initial=0))
        first = bisect_right(starts, start) - 1
        for files in self._chunks(first, within=start > starts[min(first, len(starts) - 1)]):
            bases = np.array([starts[file] for file in files], np.int64)
            for block in self._read(files, bases, max(0, start - starts[files.start]), most, stop):
                most = None if most is None else most - len(block)
                yield block
            if most is not None and most <= 0:
                return

    def _chunks(self, first: int, within: bool) -> Iterator[range]:
        """Files to read at once: few at first, for a quick first page, then more and more."""
        end, many = len(self.split.files), 1
        clashing = len({name.lower() for name in self.names}) < len(self.names)
        while first < end:
            # The engine finds columns of further files by name without regard to case.
            size = 1 if within or clashing else many
            yield range(first, min(end, first + size))
            first, many, within = first + size, min(_MOST_FILES, many * _MORE_FILES), False

    def _read(self, files: range, bases: Rows, skipped: int, most: int | None, stop: Stop) -> Iterator[Rows]:
        paths = [confined(self.folder, self.split.files[file]) for file in files]
        parameters = {"files": literal_paths(paths)}
        wanted = [f"({condition.sql})" for condition in self.conditions]
        for condition in self.conditions:
            parameters |= condition.parameters
        if skipped:
            wanted.append(f"file_row_number >= {skipped:d}")
        sql = (  # no text of clients: names became positions, values are parameters
            f"SELECT {'0' if len(files) == 1 else 'file_index'} AS file, file_row_number AS row "  # noqa: S608  # see above
            f"FROM read_parquet($files, union_by_name = {len(files) > 1}, hive_partitioning = false) "
            f"AS t({self._aliases(paths[0], self.split.files[files.start])}) WHERE {' AND '.join(wanted)}"
            + ("" if most is None else f" LIMIT {most:d}")
        )
        with self.engine.reader(sql, parameters, stop) as batches:
            for batch in batches:
                yield bases[_numbers(batch, "file")] + _numbers(batch, "row")

    def _aliases(self, path: Path, name: str) -> str:
        """Names for the columns in the order of this file; those of clients never become part of SQL."""
        order = {column: index for index, column in enumerate(self.names)}
        return ", ".join(f"c{order[column]}" for column in cached_footer(path, name).schema.names)


def _numbers(batch: object, column: str) -> Rows:
    return cast(Rows, batch.column(column).to_numpy().astype(np.int64))  # type: ignore[attr-defined]  # untyped library

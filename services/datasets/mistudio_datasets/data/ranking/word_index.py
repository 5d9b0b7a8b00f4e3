"""The word index of a dataset: for every split a `tantivy` index with one document a row and one field a text column.

Texts go in as `words.spaced` gives them, and searches are put together from words alone, so nothing that somebody
searches for is ever read as a query language. Ranking is tantivy's BM25, summed over columns.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tantivy

from mistudio_datasets.data.ranking.ranked import RankedPage, best_of
from mistudio_datasets.data.ranking.word_texts import row_words, text_columns
from mistudio_datasets.data.ranking.words import Phrase
from mistudio_datasets.data.texts.rows import Rows
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import Monitor

BATCH_BYTES = 8 << 20
"""Bytes of the rows that are taken up at once."""

_INDEXING = "indexing"
_HEAP_BYTES = 128_000_000
_CONTENTS_FILE = "index.json"
_ROW = "row"
_ROWS_AT_ONCE = 1 << 18
_ROWS_BETWEEN_CHECKS = 4096
_OPEN_INDEXES = 16


def build_word_index(dataset: Path, layout: Layout, folder: Path, monitor: Monitor) -> None:
    """Write the word index of the dataset in the epoch folder `dataset` to `folder`; the same rows give the same order.

    Memory is that of a batch of rows and of tantivy's heap (128 MB). Progress is in rows.

    Raises:
        MalformedFile: a file of the dataset is broken.
    """
    columns = text_columns(dataset, layout)
    schema = _schema(len(columns))
    done = 0
    for number, split in enumerate(layout.splits):
        with _Writing(folder / str(number), schema) as writing:
            for batch in Rows(dataset, split, columns).batches(BATCH_BYTES) if columns else ():
                writing.add(batch.rows, monitor)
                monitor.report(done + writing.rows, layout.rows, "rows", _INDEXING)
        done += split.rows
    monitor.report(layout.rows, layout.rows, "rows", _INDEXING)
    contents = {"splits": [split.name for split in layout.splits], "columns": columns}
    (folder / _CONTENTS_FILE).write_text(json.dumps(contents, ensure_ascii=False), encoding="utf-8")


def _schema(columns: int) -> tantivy.Schema:
    builder = tantivy.SchemaBuilder().add_unsigned_field(_ROW, fast=True)
    for number in range(columns):
        builder.add_text_field(_field(number), tokenizer_name="whitespace", index_option="position")
    return builder.build()


def _field(column: int) -> str:
    """Name of the field of a column: names of columns may hold anything."""
    return f"c{column}"


class _Writing:
    """A split's index on its way: complete when the block is left without an error.

    Attributes:
        rows: rows that are in it.
    """

    def __init__(self, folder: Path, schema: tantivy.Schema) -> None:
        self.rows = 0
        folder.mkdir()
        # One thread, so that documents keep the order of rows.
        self._writer = tantivy.Index(schema, str(folder)).writer(_HEAP_BYTES, 1)

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._writer.commit()
        else:
            self._writer.rollback()
        self._writer.wait_merging_threads()

    def add(self, batch: pa.RecordBatch, monitor: Monitor) -> None:
        """Add the rows of a batch; those without words too, for they count when it is judged how rare a word is."""
        texts = []
        for column in batch.columns:
            monitor.check()
            texts.append(row_words(column).to_pylist())
        for at in range(len(batch)):
            if at % _ROWS_BETWEEN_CHECKS == 0:
                monitor.check()
            document = tantivy.Document()
            document.add_unsigned(_ROW, self.rows)
            for number, words in enumerate(texts):
                if text := words[at]:
                    document.add_text(_field(number), text)
            self._writer.add_document(document)
            self.rows += 1


class WordIndex:
    """The opened word index of one split."""

    def __init__(self, folder: Path, columns: Sequence[str]) -> None:
        index = tantivy.Index.open(str(folder))
        index.config_reader("manual")
        self._schema = index.schema
        self._searcher = index.searcher()
        self._columns = list(columns)

    def search(
        self,
        phrases: Sequence[Phrase],
        columns: Sequence[str],
        keep: npt.NDArray[np.bool_] | None,
        offset: int,
        limit: int,
    ) -> RankedPage:
        """The rows that hold any of `phrases` in any of `columns`, best first; see `RankedPage`.

        Args:
            phrases: from `words.phrases_of`.
            columns: from `word_texts.text_columns`.
            keep: which rows of the split may be found; None for all.
            offset: how many of the best are passed over.
            limit: most rows in the page.
        """
        query = self._query(phrases, columns)
        if keep is not None:
            return self._search_kept(query, keep, offset, limit)
        hits, total = self._hits(query, offset, limit)
        return RankedPage(tuple(hits[0].tolist()), tuple(hits[1].tolist()), total)

    def _query(self, phrases: Sequence[Phrase], columns: Sequence[str]) -> tantivy.Query:
        fields = [_field(self._columns.index(column)) for column in columns]
        parts = [self._part(field, phrase) for field in fields for phrase in phrases]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, part) for part in parts])

    def _part(self, field: str, phrase: Phrase) -> tantivy.Query:
        if len(phrase) == 1:
            return tantivy.Query.term_query(self._schema, field, phrase[0], "freq")
        return tantivy.Query.phrase_query(self._schema, field, list(phrase))

    def _hits(
        self, query: tantivy.Query, offset: int, limit: int
    ) -> tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]], int]:
        found = self._searcher.search(query, max(1, limit), count=True, offset=offset)
        rows = self._searcher.fast_field_values(_ROW, [address for _, address in found.hits[:limit]])
        scores = [score for score, _ in found.hits[:limit]]
        return (np.array(rows, np.int64), np.array(scores, np.float32)), int(found.count)  # type: ignore[attr-defined]  # missing in the stubs

    def _search_kept(self, query: tantivy.Query, keep: npt.NDArray[np.bool_], offset: int, limit: int) -> RankedPage:
        """Go through all hits, a part of the rows at a time: memory is bounded, and the total exact."""
        best = np.empty(0, np.int64), np.empty(0, np.float32)
        total = 0
        for start in range(0, len(keep), _ROWS_AT_ONCE):
            kept = keep[start : start + _ROWS_AT_ONCE]
            if not kept.any():
                continue
            (rows, scores), _ = self._hits(self._within(query, start, start + len(kept)), 0, len(kept))
            of_kept = kept[rows - start]
            total += int(of_kept.sum())
            best = best_of(
                np.concatenate([best[0], rows[of_kept]]), np.concatenate([best[1], scores[of_kept]]), offset + limit
            )
        return RankedPage(tuple(best[0][offset:].tolist()), tuple(best[1][offset:].tolist()), total)

    def _within(self, query: tantivy.Query, start: int, end: int) -> tantivy.Query:
        rows = tantivy.Query.range_query(
            self._schema, _ROW, tantivy.FieldType.Unsigned, start, end, include_lower=True, include_upper=False
        )
        uncounted = tantivy.Query.const_score_query(rows, 0.0)
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, query), (tantivy.Occur.Must, uncounted)])


@dataclass(frozen=True)
class _Contents:
    splits: list[str]
    columns: list[str]


class OpenIndexes:
    """The word indexes that were searched last stay open; those whose folder is gone are let go."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: OrderedDict[Path, WordIndex] = OrderedDict()

    def get(self, folder: Path, split: str) -> WordIndex:
        """The index of `split` in `folder`, which `build_word_index` wrote.

        Raises:
            FileNotFoundError: it is gone.
        """
        contents = _Contents(**json.loads((folder / _CONTENTS_FILE).read_text(encoding="utf-8")))
        path = folder / str(contents.splits.index(split))
        with self._lock:
            self._let_go()
            index = self._open.pop(path, None) or WordIndex(path, contents.columns)
            self._open[path] = index
            return index

    def __len__(self) -> int:
        return len(self._open)

    def _let_go(self) -> None:
        for path in [path for path in self._open if not path.is_dir()]:
            del self._open[path]
        while len(self._open) >= _OPEN_INDEXES:
            self._open.popitem(last=False)

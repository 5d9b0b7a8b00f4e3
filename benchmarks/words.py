"""Searching 660,000 rows for words with and without the word index, building it, and statistics of all columns."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from pydoc_data.topics import topics

import duckdb
import numpy as np
import pyarrow as pa
import tantivy

from benchmarks.report import Row, median, percentile, show, timed
from mistudio_datasets.data.columns.column_statistics import make_statistics, read_statistics
from mistudio_datasets.data.incoming.parquet_writer import ROW_GROUP_ROWS, RowsWriter
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import plan_folder
from mistudio_datasets.data.ranking.word_index import OpenIndexes, build_word_index
from mistudio_datasets.data.ranking.word_scan import scan_for_words
from mistudio_datasets.data.ranking.words import phrases_of
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_servicekit.storage import folder_bytes

ROWS = 660_000
VOCABULARY = 50_000
SEARCHES = 300
PAGE_ROWS = 20
_HEAP_BYTES = 128_000_000


def main() -> None:
    show("words", measure())


def measure() -> list[Row]:
    """Every figure."""
    with tempfile.TemporaryDirectory(prefix="bench-words-") as temporary:
        folder = Path(temporary)
        texts = _texts()
        layout = _write_rows(folder / "dataset", texts)
        return [*_index(folder, layout, texts), *_searches(folder, layout), *_statistics(folder, layout)]


def _texts() -> list[str]:
    """About 100 MB of text: words of English and numbered ones, as frequent as words are (Zipf)."""
    english = sorted(set(re.findall(r"[A-Za-z']+", " ".join(topics.values()))))
    vocabulary = english + [f"{english[number % len(english)]}{number}" for number in range(VOCABULARY - len(english))]
    rng = np.random.default_rng(0)
    rng.shuffle(vocabulary)
    shares = 1 / np.arange(1, VOCABULARY + 1)
    lengths = rng.integers(5, 25, ROWS)
    drawn = iter(rng.choice(VOCABULARY, int(lengths.sum()), p=shares / shares.sum()).tolist())
    return [" ".join(vocabulary[next(drawn)] for _ in range(length)) for length in lengths.tolist()]


def _write_rows(folder: Path, texts: Sequence[str]) -> Layout:
    schema = pa.table({"id": [0], "score": [0.0], "text": [""]}).schema
    scores = np.random.default_rng(1).normal(size=ROWS)
    with RowsWriter(folder / "source", schema) as writer:
        for first in range(0, ROWS, ROW_GROUP_ROWS):
            part = slice(first, min(ROWS, first + ROW_GROUP_ROWS))
            ids = range(ROWS)[part]
            writer.write(pa.table({"id": ids, "score": scores[part], "text": texts[part]}, schema=schema))
    return read_source(folder, plan_folder(folder / "source"), UNWATCHED)


def _index(folder: Path, layout: Layout, texts: Sequence[str]) -> Iterator[Row]:
    (alone,) = timed(lambda: _tantivy_alone(folder / "alone", texts), repeat=1)
    built = folder / "index"
    built.mkdir()
    (ours,) = timed(lambda: build_word_index(folder / "dataset", layout, built, UNWATCHED), repeat=1)
    yield Row("word index of 660,000 rows", ours, "s", "tantivy alone, plain words", alone, "≤ 2 ×", ours <= 2 * alone)
    text_bytes = sum(map(len, texts))
    size, limit = folder_bytes(built) / 1e6, 0.4 * text_bytes / 1e6
    yield Row(f"its size, of {text_bytes / 1e6:.0f} MB of text", size, "MB", "limit", limit, "≤ 0.4 ×", size <= limit)


def _tantivy_alone(folder: Path, texts: Sequence[str]) -> None:
    """The library with its own idea of words, given texts that are in memory already."""
    folder.mkdir()
    builder = tantivy.SchemaBuilder().add_unsigned_field("row", fast=True)
    schema = builder.add_text_field("text", index_option="position").build()
    writer = tantivy.Index(schema, str(folder)).writer(_HEAP_BYTES, 1)
    for row, text in enumerate(texts):
        document = tantivy.Document()
        document.add_unsigned("row", row)
        document.add_text("text", text)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()


def _searches(folder: Path, layout: Layout) -> Iterator[Row]:
    index = OpenIndexes().get(folder / "index", "train")
    words = sorted({word for topic in topics.values() for word in re.findall(r"[a-z]+", topic.lower())})
    rng = np.random.default_rng(2)
    searches = [phrases_of(" ".join(rng.choice(words, 3))) for _ in range(SEARCHES)]
    keep = rng.random(ROWS) < 0.1
    for work, mask, limit in (
        ("a search of three words, p95", None, 10.0),
        ("the same among a tenth of rows", keep, 500.0),
    ):
        taken = [
            timed(lambda each=each, mask=mask: index.search(each, ["text"], mask, 0, PAGE_ROWS), repeat=1)[0]  # type: ignore[misc]  # a lambda's default has no type
            for each in searches
        ]
        p95, spread = percentile(taken, 95) * 1e3, (max(taken) - min(taken)) * 1e3
        yield Row(work, p95, "ms", "limit", limit, f"p95 ≤ {limit:.0f} ms", p95 <= limit, spread)
    seconds = timed(lambda: _scan(folder, layout, searches[0]))
    yield Row("the same by reading every row", median(seconds), "s", "limit", 10.0, "≤ 10 s", seconds[-1] <= 10)


def _scan(folder: Path, layout: Layout, search: tuple[tuple[str, ...], ...]) -> None:
    scan_for_words(folder / "dataset", layout.splits[0], search, ["text"], None, 0, PAGE_ROWS, lambda: None)


def _statistics(folder: Path, layout: Layout) -> Iterator[Row]:
    peer = timed(lambda: _summarize(folder, layout), repeat=2)
    made = folder / "statistics"
    made.mkdir()
    (ours,) = timed(lambda: make_statistics(folder / "dataset", layout, made, UNWATCHED), repeat=1)
    work, mark = "statistics of 3 columns", "DuckDB's SUMMARIZE (no lengths, no histograms)"
    yield Row(work, ours, "s", mark, median(peer), "≤ 20 s", ours <= 20)
    read = timed(lambda: read_statistics(made, layout, layout.splits[0]), repeat=7)
    taken, spread = median(read) * 1e3, (read[-1] - read[0]) * 1e3
    yield Row("reading them", taken, "ms", "limit", 50.0, "≤ 50 ms", taken <= 50, spread)


def _summarize(folder: Path, layout: Layout) -> None:
    files = [str(folder / "dataset" / name) for name in layout.splits[0].files]
    with duckdb.connect() as connection:
        assert len(connection.execute("SUMMARIZE SELECT * FROM read_parquet(?)", [files]).fetchall()) == 3


if __name__ == "__main__":
    main()

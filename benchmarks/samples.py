"""Pages of rows at row 10 million, and the statistics of a million token sequences, from files of our own writers."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.report import Row, median, percentile, show, timed
from mistudio_datasets.data.browsing.query_engine import QueryEngine
from mistudio_datasets.data.browsing.samples import read_rows
from mistudio_datasets.data.incoming.parquet_writer import ROW_GROUP_ROWS, RowsWriter
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import plan_folder
from mistudio_datasets.data.tokens.shards import ShardWriter, write_pieces
from mistudio_datasets.data.tokens.statistics import recompute
from mistudio_datasets.data.tokens.token_files import COUNTS_FILE, TokenFiles
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import UNWATCHED

ROWS = 10_020_000
FIRST_ROW = 10_000_000
PAGE_ROWS = 20
PAGE_BYTES = 1 << 20
PAGES = 300
SEQUENCES = 1_000_000
VOCABULARY = 50_000
_BATCH_SEQUENCES = 20_000


def main() -> None:
    show("samples", measure())


def measure() -> list[Row]:
    """Every figure."""
    with tempfile.TemporaryDirectory(prefix="bench-samples-") as folder:
        return [_pages(Path(folder) / "rows"), *_statistics(Path(folder) / "tokenization")]


def _pages(folder: Path) -> Row:
    """Every page begins at another row; the first, which also reads the footers, is among those timed."""
    layout, engine = _write_rows(folder), QueryEngine(folder)
    draw = random.Random(1)
    starts = [draw.randrange(FIRST_ROW, ROWS - PAGE_ROWS) for _ in range(PAGES)]
    seconds = [timed(lambda at=at: _page(engine, folder, layout, at), repeat=1)[0] for at in starts]  # type: ignore[misc]  # a lambda's default has no type
    p95, spread = percentile(seconds, 95) * 1e3, (max(seconds) - min(seconds)) * 1e3
    return Row("a page of 20 at row 10 M, p95", p95, "ms", "limit", 20.0, "p95 ≤ 20 ms", p95 <= 20, spread)


def _page(engine: QueryEngine, folder: Path, layout: Layout, at: int) -> None:
    page = read_rows(engine, folder, layout, "train", at, PAGE_ROWS, PAGE_BYTES)
    assert [row.values["n"] for row in page.rows] == list(range(at, at + PAGE_ROWS))


def _write_rows(folder: Path) -> Layout:
    """A number and a text of 40 to 360 characters a row, no text twice."""
    endings = ["of some length, as short texts have it. " * times for times in range(1, 10)]
    schema = pa.table({"n": [0], "text": [""]}).schema
    with RowsWriter(folder / "source", schema) as writer:
        for first in range(0, ROWS, ROW_GROUP_ROWS):
            numbers = range(first, min(ROWS, first + ROW_GROUP_ROWS))
            texts = [f"Row {number} {endings[number % len(endings)]}" for number in numbers]
            writer.write(pa.table({"n": numbers, "text": texts}, schema=schema))
    return read_source(folder, plan_folder(folder / "source"), UNWATCHED)


def _statistics(folder: Path) -> Iterator[Row]:
    _write_sequences(folder)
    for work, mark, seconds in (
        ("lengths of 1 M sequences", 50.0, timed(lambda: _read_lengths(folder), repeat=7)),
        ("statistics of 1 M sequences", 1000.0, timed(lambda: recompute(folder), repeat=7)),
    ):
        taken, spread = median(seconds) * 1e3, (seconds[-1] - seconds[0]) * 1e3
        yield Row(work, taken, "ms", "limit", mark, f"≤ {mark:.0f} ms", taken <= mark, spread)


def _read_lengths(folder: Path) -> None:
    assert sum(len(batch.lengths()) for batch in TokenFiles(folder).batches()) == SEQUENCES


def _write_sequences(folder: Path) -> None:
    """Lengths as those of web texts: log-normal, 60 tokens in the middle."""
    draw = np.random.default_rng(0)
    counts = np.zeros(VOCABULARY, np.int64)
    writer = ShardWriter(folder, "train")
    for _ in range(SEQUENCES // _BATCH_SEQUENCES):
        lengths = draw.lognormal(4.1, 1.0, _BATCH_SEQUENCES).astype(np.int64)
        ids = draw.integers(0, VOCABULARY, int(lengths.sum()), np.int32)
        counts += np.bincount(ids, minlength=VOCABULARY)
        writer.write(ids, lengths)
    writer.finish()
    write_pieces(folder, [f"piece{number}" for number in range(VOCABULARY)])
    np.save(folder / COUNTS_FILE, counts)


if __name__ == "__main__":
    main()

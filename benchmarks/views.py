"""Views of a billion tokens, their sequences in any order, and searches for tokens in all of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.report import Row, median, percentile, show, timed
from benchmarks.sparse_tokens import BOS, EOS, write_sparse
from mistudio_datasets.data.tokens.sequences import read_documents
from mistudio_datasets.data.tokens.statistics import recompute
from mistudio_datasets.data.tokens.token_files import COUNTS_FILE, TokenFiles
from mistudio_datasets.data.tokens.token_search import count_matches
from mistudio_datasets.data.views.views import open_view
from mistudio_datasets.domain.statistics import TokenizationStatistics
from mistudio_datasets.domain.views import SpecialTokenPolicy, View, ViewMode

SHAPES = ((1_000_000, 1000), (10_000_000, 100))
PAGES = 300
EXPORTED_TOKENS = 100_000_000
PACKED = View(ViewMode.PACKED, 1024, bos=SpecialTokenPolicy.SEQUENCE, eos=SpecialTokenPolicy.DOCUMENT)
WINDOWS = View(ViewMode.WINDOWS, 128, stride=64, bos=SpecialTokenPolicy.SEQUENCE)


def main() -> None:
    show("views", measure())


def measure() -> list[Row]:
    """Every figure."""
    with tempfile.TemporaryDirectory(prefix="bench-views-") as root:
        rows: list[Row] = []
        for documents, mean in SHAPES:
            folder = Path(root) / str(documents)
            write_sparse(folder, documents, mean)
            rows += _views(folder, f"{documents // 1_000_000} M × {mean}")
            rows += _searches(folder, f"{documents // 1_000_000} M × {mean}")
            rows += _statistics(folder, f"{documents // 1_000_000} M documents")
        return rows


def _views(folder: Path, shape: str) -> Iterator[Row]:
    for name, view in (("packed", PACKED), ("windows", WINDOWS)):
        _pretend_stored(folder, stored=False)
        yield _new(folder, view, f"new {name} view, {shape}")
        yield _pages(folder, view, f"any sequence, {name}, {shape}, p95")
        yield _export(folder, view, f"all sequences, {name}, {shape}")
        _pretend_stored(folder, stored=True)
        longer = replace(view, context_length=2 * view.context_length)
        yield _new(folder, longer, f"new {name} view, {shape}, BOS and EOS looked for")
    yield _documents(folder, f"20 documents anywhere, {shape}, p95")


def _pretend_stored(folder: Path, stored: bool) -> None:
    """Whether documents hold BOS and EOS; if so, a view looks for them in all documents."""
    counts = np.load(folder / COUNTS_FILE)
    counts[[BOS, EOS]] = int(stored)
    np.save(folder / COUNTS_FILE, counts)


def _new(folder: Path, view: View, work: str) -> Row:
    """Every run takes another context length: a view that was opened before is known."""
    seconds = []
    for shorter in range(3):
        start = perf_counter()
        open_view(folder, replace(view, context_length=view.context_length - shorter))
        seconds.append(perf_counter() - start)
    return _limited(work, sorted(seconds), 1.0, "s")


def _pages(folder: Path, view: View, work: str) -> Row:
    """As one call does it: open the view, read one sequence."""
    sequences = open_view(folder, view).sequences
    numbers = np.random.default_rng(1).integers(0, sequences, PAGES).tolist()
    seconds = [timed(lambda number=number: open_view(folder, view).sequence(number), repeat=1)[0] for number in numbers]  # type: ignore[misc]  # a lambda's default has no type
    return _slowest(work, seconds)


def _documents(folder: Path, work: str) -> Row:
    documents = TokenFiles(folder).documents
    numbers = np.random.default_rng(1).integers(0, documents - 20, PAGES).tolist()
    seconds = [timed(lambda at=at: read_documents(folder, at, 20, 1000, 200_000), repeat=1)[0] for at in numbers]  # type: ignore[misc]  # a lambda's default has no type
    return _slowest(work, seconds)


def _slowest(work: str, seconds: list[float]) -> Row:
    p95, spread = percentile(seconds, 95) * 1e3, (max(seconds) - min(seconds)) * 1e3
    return Row(work, p95, "ms", "limit", 20.0, "p95 ≤ 20 ms", p95 <= 20, spread)


def _export(folder: Path, view: View, work: str) -> Row:
    tokens, start = 0, perf_counter()
    for batch in open_view(folder, view).batches():
        tokens += len(batch.ids)
        if tokens > EXPORTED_TOKENS:
            break
    speed = tokens / (perf_counter() - start) / 1e6
    return Row(work, speed, "M tokens/s", "limit", 100.0, "≥ 100 M tokens/s", speed >= 100)


def _searches(folder: Path, shape: str) -> Iterator[Row]:
    """Rare tokens, so every id is compared; each query is another, for figures are kept. The peer is the same
    comparison alone, in one thread.
    """
    files = TokenFiles(folder)
    _pretend_stored(folder, stored=True)
    queries = iter([(BOS,), (EOS,), (BOS, EOS), (EOS, BOS)])
    ours = timed(lambda: count_matches(folder, next(queries), lambda: None), repeat=4)
    peer = timed(lambda: [np.count_nonzero(batch.ids == BOS) for batch in files.batches()], repeat=4)
    speeds = [files.tokens / median(seconds) / 1e6 for seconds in (ours, peer)]
    work = f"search all tokens, {shape}"
    yield Row(work, speeds[0], "M tokens/s", "numpy", speeds[1], "≥ 1 × numpy alone", speeds[0] >= speeds[1])


def _statistics(folder: Path, shape: str) -> Iterator[Row]:
    kept = json.dumps(recompute(folder).to_json())
    yield _limited(f"kept statistics, {shape}", timed(lambda: TokenizationStatistics.from_json(json.loads(kept))), 0.05)
    yield _limited(f"statistics recomputed, {shape}", timed(lambda: recompute(folder)), 1.0)


def _limited(work: str, seconds: list[float], limit: float, unit: str = "s") -> Row:
    taken, spread = median(seconds), seconds[-1] - seconds[0]
    return Row(work, taken, unit, "limit", limit, f"≤ {limit:g} s", taken <= limit, spread)


if __name__ == "__main__":
    main()

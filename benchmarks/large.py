"""Large and odd datasets: that memory is bounded by a batch and not by the data, and how long the work takes.

Every piece of work runs in a process of its own, whose resident memory is sampled, children included. The data is made
in a temporary folder first, which takes a fifth of its size on disk, and is removed again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus import NewWords, documents, paragraphs, train_model
from benchmarks.report import Row, show

MOST_MEGABYTES = 1500.0
SAMPLE_SECONDS = 0.05
POOL_BYTES = 100_000_000
TINY_FILES = 100_000
MANY_COLUMNS = 10_000
LONG_ROW_BYTES = 200_000_000
MOST_TIMES_THE_ROW_IN = 12
"""A JSON row is taken in whole: its line, and its text, the parts of its value and the value, which in Python take four
bytes a character where one character of it asks for them."""
MOST_TIMES_THE_ROW_TOKENIZED = 10
"""A text is encoded whole: the page it is read from, the text, joined once, and the ids, gathered once."""

THREADS = 2
TEXT_SCHEMA = pa.schema([pa.field("text", pa.string())])


@dataclass(frozen=True)
class Work:
    """What a process did: seconds in all, most megabytes it held, and what it told."""

    seconds: float
    megabytes: float
    told: dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the text dataset")
    parser.add_argument("cases", nargs="*", help=f"some of {', '.join(CASES)}; all by default")
    asked = parser.parse_args()
    rows: list[Row] = []
    for name in asked.cases or CASES:
        with tempfile.TemporaryDirectory(prefix="bench-large-") as folder:
            rows += CASES[name](Path(folder), int(asked.gigabytes * 1e9))
    show("large", rows)


def _bounded(work: str, done: Work, most: float = MOST_MEGABYTES) -> Iterator[Row]:
    yield Row(work, done.megabytes, "MB resident", "limit", most, "≤ limit", done.megabytes <= most)


def _tokenized(work: str, root: Path, model: Path, most: float = MOST_MEGABYTES) -> Iterator[Row]:
    done = _run("tokenize", root, model)
    yield from _bounded(work, done, most)
    yield from _rate(work, done)


def _rate(work: str, done: Work) -> Iterator[Row]:
    rate = done.told["tokens"] / done.told["seconds"] / 1e6
    yield Row(f"{work}, {done.told['engine']}", rate, "M tokens/s", f"{done.told['seconds']:.0f} s", rate, "", True)


def _text(root: Path, size: int) -> Iterator[Row]:
    """Files of a gigabyte of text each, in the row groups that the Hub's files have; new words to the end."""
    _require_free(root, size)
    source, text = _source(root), NewWords()
    for number in range(max(1, round(size / 1e9))):
        with pq.ParquetWriter(source / f"train-{number:05d}.parquet", TEXT_SCHEMA, compression="zstd") as writer:
            for _ in range(max(1, round(min(size, 1e9) / POOL_BYTES))):
                writer.write_table(pa.table({"text": text.documents(POOL_BYTES)}), row_group_size=10_000)
    work = f"tokenize {size / 1e9:.3g} GB, BPE"
    done = _run("tokenize", root, _model(root))
    yield from _bounded(work, done)
    yield from _rate(work, done)
    first, *later = done.told["quarters"]
    for quarter, megabytes in enumerate(later, 2):
        grown = megabytes - first
        yield Row(f"{work}, grown from 25 to {25 * quarter} %", grown, "MB resident", "at 25 %", first, "", True)


def _one_row(root: Path, _: int) -> Iterator[Row]:
    """One document of 200 MB, taken in from JSON Lines, then tokenized."""
    text = "\n\n".join(documents(LONG_ROW_BYTES))
    (_source(root) / "train.jsonl").write_text(json.dumps({"text": text}) + "\n")
    done = _run("ingest", root)
    megabytes = LONG_ROW_BYTES / 1e6
    work = f"take in JSON Lines, one row of 200 MB, ≤ {MOST_TIMES_THE_ROW_IN} × the row"
    yield from _bounded(work, done, MOST_TIMES_THE_ROW_IN * megabytes)
    work = f"tokenize one row of 200 MB, ≤ {MOST_TIMES_THE_ROW_TOKENIZED} × the row"
    yield from _tokenized(work, root, _model(root), MOST_TIMES_THE_ROW_TOKENIZED * megabytes)


def _tiny_rows(root: Path, _: int) -> Iterator[Row]:
    """A million rows of one word."""
    words = " ".join(paragraphs()).split()
    texts = [words[number % len(words)] for number in range(1_000_000)]
    pq.write_table(pa.table({"text": texts}), _source(root) / "train.parquet", row_group_size=100_000)
    yield from _tokenized("tokenize 1 M rows of a word", root, _model(root))


def _repeated(root: Path, _: int) -> Iterator[Row]:
    """Few texts, many times: a dictionary that unpacks to a gigabyte."""
    texts = pa.array(documents(1_000_000)).dictionary_encode()
    times = 1_000_000_000 // 1_000_000
    table = pa.table(
        {"text": pa.DictionaryArray.from_arrays(pa.concat_arrays([texts.indices] * times), texts.dictionary)}
    )
    pq.write_table(table, _source(root) / "train.parquet", row_group_size=len(table))
    yield from _tokenized("tokenize 1 GB in one dictionary", root, _model(root))


def _tiny_files(root: Path, _: int) -> Iterator[Row]:
    source = _source(root)
    texts = documents(20_000_000)
    for number in range(TINY_FILES):
        rows = [texts[(3 * number + row) % len(texts)] for row in range(3)]
        pq.write_table(
            pa.table({"id": list(range(3 * number, 3 * number + 3)), "text": rows}), source / f"{number:06d}.parquet"
        )
    before = _folder_bytes(root)
    done = _run("ingest", root)
    yield from _bounded(f"take in {TINY_FILES:,} files", done)
    work = f"take in {TINY_FILES:,} files, {done.told['files']} after"
    yield Row(work, done.told["seconds"], "s", "resolve them", done.told["plan_seconds"], "", True)
    share = _folder_bytes(root) / before
    yield Row("disk after", share, "× source", "limit", 1.1, "≤ limit", share <= 1.1)
    page = _run("page", root)
    milliseconds = 1000 * page.told["seconds"]
    yield Row("first page at the last row, cold", milliseconds, "ms", "limit", 100.0, "≤ limit", milliseconds <= 100)


def _many_columns(root: Path, _: int) -> Iterator[Row]:
    columns = {f"column {number}": f"value {number}" for number in range(MANY_COLUMNS)}
    with (_source(root) / "train.jsonl").open("w") as file:
        file.writelines(json.dumps({**columns, "column 0": number}) + "\n" for number in range(300))
    yield from _bounded(f"take in 300 rows of {MANY_COLUMNS:,} columns", _run("ingest", root))
    page = _run("page", root)
    work, milliseconds = (
        f"first page of {MANY_COLUMNS:,} columns, {page.told['rows']} rows",
        1000 * page.told["seconds"],
    )
    yield Row(work, milliseconds, "ms", "limit", 1000.0, "≤ limit", milliseconds <= 1000)


CASES: dict[str, Callable[[Path, int], Iterator[Row]]] = {
    "text": _text, "one-row": _one_row, "tiny-rows": _tiny_rows, "repeated": _repeated, "tiny-files": _tiny_files,
    "many-columns": _many_columns,
}  # fmt: skip


def _source(root: Path) -> Path:
    source = root / "source"
    source.mkdir()
    return source


def _model(root: Path) -> Path:
    return train_model("byte-level", 16_000, root / "model", paragraphs())


def _require_free(root: Path, size: int) -> None:
    free = shutil.disk_usage(root).free
    if free < 2 * size:
        raise SystemExit(f"{root} has {free / 1e9:.0f} GB free; {2 * size / 1e9:.0f} GB are needed (text and ids)")


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _run(work: str, *folders: Path) -> Work:
    command = [sys.executable, "-m", "benchmarks.large", "--child", work, *map(str, folders)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    begun, most = time.perf_counter(), 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            most = max(most, _resident(child.pid))
            time.sleep(SAMPLE_SECONDS)
        told, _ = child.communicate()
    if child.returncode:
        raise SystemExit(f"{work} ended with {child.returncode}")
    return Work(time.perf_counter() - begun, most / 1e6, json.loads(told.splitlines()[-1]))


def _resident(pid: int) -> int:
    """Bytes that the process and its children hold now; 0 once it has ended."""
    try:
        process = psutil.Process(pid)
        return sum(member.memory_info().rss for member in [process, *process.children(recursive=True)])
    except psutil.NoSuchProcess:
        return 0


def _ingest(root: Path) -> dict[str, Any]:
    from mistudio_datasets.data.incoming.layout_file import write_layout
    from mistudio_datasets.data.incoming.reading import read_source
    from mistudio_datasets.data.incoming.source_plan import plan_folder
    from mistudio_datasets.domain.progress import UNWATCHED

    begun = time.perf_counter()
    plan = plan_folder(root / "source")
    planned = time.perf_counter()
    layout = read_source(root, plan, UNWATCHED)
    write_layout(root, layout)
    ended = time.perf_counter()
    return {"seconds": ended - planned, "plan_seconds": planned - begun, "files": len(layout.split().files)}


def _page(root: Path) -> dict[str, Any]:
    from mistudio_datasets.data.browsing.query_engine import QueryEngine
    from mistudio_datasets.data.browsing.samples import read_rows
    from mistudio_datasets.data.incoming.layout_file import read_layout

    begun = time.perf_counter()
    layout = read_layout(root)
    page = read_rows(QueryEngine(root), root, layout, "", max(0, layout.rows - 20), 20, 2 << 20)
    return {"seconds": time.perf_counter() - begun, "rows": len(page.rows)}


def _tokenize(root: Path, model: Path) -> dict[str, Any]:
    from mistudio_datasets.data.incoming.layout_file import read_layout
    from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
    from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, tokenize
    from mistudio_datasets.domain.progress import UNWATCHED, Monitor
    from mistudio_datasets.domain.tokenizations import TokenizationSettings

    if not (root / "layout.json").exists():
        _ingest(root)
    settings = TokenizationSettings("train", "text")
    what = TokenizeInput(root, read_layout(root), "", settings, load_tokenizer(model), THREADS)
    quarters = _Quarters()
    begun = time.perf_counter()
    result = tokenize(what, root / "out", Monitor(quarters, UNWATCHED.check))
    seconds = time.perf_counter() - begun
    told = {"seconds": seconds, "tokens": result.statistics.tokens, "engine": result.engine}
    return told | {"quarters": quarters.megabytes}


class _Quarters:
    """Notes the resident megabytes of this process when a quarter of the work is done, a half, and so on."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def __call__(
        self, done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None
    ) -> None:
        """See `Report`."""
        if 4 * done >= (len(self.megabytes) + 1) * total:
            self.megabytes.append(psutil.Process().memory_info().rss / 1e6)


_CHILDREN: dict[str, Callable[..., dict[str, Any]]] = {"ingest": _ingest, "page": _page, "tokenize": _tokenize}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(_CHILDREN[sys.argv[2]](*map(Path, sys.argv[3:]))))
    else:
        main()

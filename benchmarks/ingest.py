"""Taking in JSON Lines and CSV: two passes and Parquet in the end, beside `datasets.load_dataset` of the same file."""

from __future__ import annotations

import csv
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import datasets

from benchmarks.report import Row, median, show, timed
from mistudio_datasets.data.incoming.reading import ingest_upload
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.domain.progress import UNWATCHED

FILE_BYTES = 100 << 20
MIB_PER_SECOND = 60.0
_REPEAT = 3

Fields = dict[str, Any]


def main() -> None:
    show("ingest", measure())


def measure() -> list[Row]:
    """Every figure."""
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as temporary:
        return list(_figures(Path(temporary)))


def _figures(folder: Path) -> Iterator[Row]:
    draw = random.Random(0)
    words = re.findall(r"[A-Za-z']+", " ".join(topics.values()))
    documents, small = _documents(draw, words), _small_fields(draw, words)
    for work, file in (
        ("JSON Lines of documents", _write_json(folder / "documents.jsonl", documents)),
        ("JSON Lines of small fields", _write_json(folder / "small.jsonl", small)),
        ("CSV of small fields", _write_csv(folder / "small.csv", small)),
    ):
        yield _beside_datasets(work, file)
        file.unlink()


def _documents(draw: random.Random, words: list[str]) -> Callable[[int], Fields]:
    return lambda number: {"id": number, "text": " ".join(draw.choices(words, k=400)), "url": f"https://x.org/{number}"}


def _small_fields(draw: random.Random, words: list[str]) -> Callable[[int], Fields]:
    return lambda number: {
        "id": number,
        "score": draw.random(),
        "name": draw.choice(words),
        "is_kept": number % 3 == 0,
        "count": draw.randrange(10**6),
        "title": " ".join(draw.choices(words, k=6)),
    }


def _write_json(path: Path, row: Callable[[int], Fields]) -> Path:
    number = 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < FILE_BYTES:
            file.writelines(json.dumps(row(number + each)) + "\n" for each in range(1000))
            number += 1000
    return path


def _write_csv(path: Path, row: Callable[[int], Fields]) -> Path:
    number = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row(0))
        writer.writeheader()
        while file.tell() < FILE_BYTES:
            writer.writerows(row(number + each) for each in range(1000))
            number += 1000
    return path


def _beside_datasets(work: str, file: Path) -> Row:
    """One run of each in turn, so that both meet the same machine."""
    ours, theirs = [], []
    for _ in range(_REPEAT):
        ours += timed(lambda: _ingest(file), repeat=1)
        theirs += timed(lambda: _load(file), repeat=1)
    size = file.stat().st_size / (1 << 20)
    speeds = [size / seconds for seconds in ours]
    target = f"≥ {MIB_PER_SECOND:.0f} MiB/s"
    speed, peer = median(speeds), size / median(theirs)
    return Row(work, speed, "MiB/s", "load_dataset", peer, target, speed >= MIB_PER_SECOND, max(speeds) - min(speeds))


def _ingest(file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        ingest_upload(Path(folder), Source.whole(file, file.name), None, UNWATCHED)


def _load(file: Path) -> None:
    kind = "csv" if file.suffix == ".csv" else "json"
    with tempfile.TemporaryDirectory(dir=file.parent) as cache:
        datasets.load_dataset(kind, data_files=str(file), cache_dir=cache, split="train")


if __name__ == "__main__":
    main()

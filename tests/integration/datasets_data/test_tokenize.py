import hashlib
import json
import random
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from transformers import AutoTokenizer

from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.data.tokens.engine_choice import HARD_TEXTS, GuardedEngine, choose_engine
from mistudio_datasets.data.tokens.engines import EnginesDiffer, GigatokenEngine, OwnEngine
from mistudio_datasets.data.tokens.sequences import read_documents
from mistudio_datasets.data.tokens.shards import IDS_COLUMN, ShardWriter
from mistudio_datasets.data.tokens.statistics import recompute
from mistudio_datasets.data.tokens.tokenizers import ModelTokenizer, load_tokenizer
from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, TokenizeResult, tokenize
from mistudio_datasets.domain.datasets import DataFormat, Layout
from mistudio_datasets.domain.progress import UNWATCHED, Monitor
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_servicekit.errors import DatasetEmpty, JobCancelled, MalformedFile

from .conftest import write_source

FAMILIES = ("byte-level", "wordpiece", "unigram", "byte-fallback")
ENGINES = dict(zip(FAMILIES, ("gigatoken", "tokenizers", "tokenizers", "gigatoken"), strict=True))


def hard_documents(english: list[str], count: int) -> list[str]:
    """English paragraphs with hard texts strewn in."""
    draw = random.Random(7)
    return [
        draw.choice(english) + draw.choice(HARD_TEXTS) + draw.choice(HARD_TEXTS) if draw.random() < 0.5
        else draw.choice(HARD_TEXTS) + draw.choice(english)[: draw.randrange(200)]
        for _ in range(count)
    ]  # fmt: skip


def dataset(folder: Path, *columns: Sequence[str | None], row_group_size: int = 300) -> Layout:
    names = tuple(f"train-{number}.parquet" for number in range(len(columns)))
    for name, texts in zip(names, columns, strict=True):
        table = pa.table({"n": list(range(len(texts))), "text": pa.array(texts, pa.string())})
        write_source(folder, name, table, row_group_size)
    plan = SourcePlan("default", DataFormat.PARQUET, {"train": names}, (), CsvOptions())
    return read_source(folder, plan, UNWATCHED)


def run(
    folder: Path, layout: Layout, tokenizer: ModelTokenizer, out: Path, monitor: Monitor = UNWATCHED
) -> TokenizeResult:
    settings = TokenizationSettings("train", "text")
    return tokenize(TokenizeInput(folder, layout, "c0ffee", settings, tokenizer, threads=2), out, monitor)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("family", FAMILIES)
def test_ids_equal_those_of_the_models_own_tokenizer(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str], family: str
) -> None:
    texts = hard_documents(english, 2000)
    layout = dataset(tmp_path, texts[:700], texts[700:])
    result = run(tmp_path, layout, load_tokenizer(model_folders[family]), tmp_path / "out")
    own = AutoTokenizer.from_pretrained(str(model_folders[family]))
    expected = own(texts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
    stored = datasets.load_from_disk(str(tmp_path / "out"))
    assert stored[IDS_COLUMN][:] == expected
    assert result.statistics.tokens == sum(map(len, expected))
    assert result.engine == ENGINES[family]


def test_the_folder_is_what_the_library_itself_would_save(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str]
) -> None:
    run(tmp_path, dataset(tmp_path, english[:100]), load_tokenizer(model_folders["byte-level"]), tmp_path / "out")
    ours = datasets.load_from_disk(str(tmp_path / "out"))
    ours.save_to_disk(str(tmp_path / "theirs"))
    theirs = datasets.load_from_disk(str(tmp_path / "theirs"))
    assert (ours.features, ours.split, ours.to_dict()) == (theirs.features, theirs.split, theirs.to_dict())
    for name in ("state.json", "dataset_info.json"):
        mine, other = (json.loads((tmp_path / side / name).read_text()) for side in ("out", "theirs"))
        mine.pop("_fingerprint", None), other.pop("_fingerprint", None)
        assert mine == other
    streams = [next((tmp_path / side).glob("data-*")).read_bytes() for side in ("out", "theirs")]
    schemas = [pa.ipc.open_stream(stream).schema for stream in streams]
    assert schemas[0].equals(schemas[1], check_metadata=True)


def test_null_texts_are_empty_documents_and_counted(tmp_path: Path, model_folders: dict[str, Path]) -> None:
    result = run(
        tmp_path, dataset(tmp_path, [None, "a b", "", None]), load_tokenizer(model_folders["unigram"]), tmp_path / "out"
    )
    assert (result.null_documents, result.statistics.empty_documents, result.statistics.documents) == (2, 3, 4)
    assert [len(ids) for ids in datasets.load_from_disk(str(tmp_path / "out"))[IDS_COLUMN]][0::2] == [0, 0]


@pytest.mark.parametrize("family", ["byte-level", "wordpiece"])
def test_the_same_input_gives_the_same_bytes(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str], family: str
) -> None:
    layout = dataset(tmp_path, english)
    for out in ("first", "second"):
        run(tmp_path, layout, load_tokenizer(model_folders[family]), tmp_path / out)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_statistics_recomputed_from_the_files_equal_those_made_while_writing(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str]
) -> None:
    layout = dataset(tmp_path, [*english[:2000], None, ""])
    result = run(tmp_path, layout, load_tokenizer(model_folders["byte-level"]), tmp_path / "out")
    assert recompute(tmp_path / "out") == result.statistics


def test_vocabulary_use_is_exact(tmp_path: Path, model_folders: dict[str, Path], english: list[str]) -> None:
    layout = dataset(tmp_path, english[:500])
    result = run(tmp_path, layout, load_tokenizer(model_folders["unigram"]), tmp_path / "out")
    stored = datasets.load_from_disk(str(tmp_path / "out"))
    counts = np.bincount(np.concatenate([np.array(ids, np.int64) for ids in stored[IDS_COLUMN]]))
    assert result.statistics.vocabulary_used == np.count_nonzero(counts)
    assert result.statistics.top_tokens[0].count == counts.max()
    assert result.statistics.vocabulary_size == 1000


def test_progress_counts_rows_and_bytes_to_the_exact_total(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str]
) -> None:
    seen: list[tuple[int, int, str, dict[str, float]]] = []

    def report(done: int, total: int, unit: str, stage: str, metrics: Mapping[str, float] | None = None) -> None:
        seen.append((done, total, unit, dict(metrics or {})))

    layout = dataset(tmp_path, english * 14, english)
    result = run(
        tmp_path, layout, load_tokenizer(model_folders["wordpiece"]), tmp_path / "out", Monitor(report, lambda: None)
    )
    rows = [done for done, *_ in seen]
    assert len(rows) > 2
    assert rows == sorted(rows)
    done, total, unit, metrics = seen[-1]
    assert (done, total, unit) == (15 * len(english), 15 * len(english), "rows")
    assert metrics["bytes"] == metrics["bytes_total"] > 0
    assert metrics["tokens"] == result.statistics.tokens


def test_a_stop_in_the_middle_is_obeyed(tmp_path: Path, model_folders: dict[str, Path], english: list[str]) -> None:
    calls = iter(["at the start"])

    def check() -> None:
        if next(calls, None) is None:
            raise JobCancelled("The job was cancelled", next_step="Start it again")

    layout = dataset(tmp_path, english)
    with pytest.raises(JobCancelled):
        run(
            tmp_path,
            layout,
            load_tokenizer(model_folders["wordpiece"]),
            tmp_path / "out",
            Monitor(lambda *_: None, check),
        )


def test_a_file_broken_in_the_middle_is_named_and_no_thread_goes_on(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str]
) -> None:
    layout = dataset(tmp_path, english, english)
    (broken,) = tmp_path.rglob("train-1.parquet")
    content = bytearray(broken.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = b"\xff" * 5000
    broken.write_bytes(content)
    before = set(threading.enumerate())
    with pytest.raises(MalformedFile, match=r"train-1\.parquet is broken in row group"):
        run(tmp_path, layout, load_tokenizer(model_folders["byte-level"]), tmp_path / "out")
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(timeout=100)
    assert not any(thread.is_alive() for thread in left)


def test_the_manifest_names_everything_that_made_the_ids(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str]
) -> None:
    tokenizer = load_tokenizer(model_folders["byte-level"])
    result = run(tmp_path, dataset(tmp_path, english[:50]), tokenizer, tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["dataset"] == {"commit": "c0ffee", "config": "default"}
    assert manifest["settings"] == {"split": "train", "text_column": "text"}
    assert manifest["tokenizer"]["sha256"] == tokenizer.sha256 == result.tokenizer_sha256
    assert manifest["engine"]["name"] == "gigatoken"
    assert manifest["counts"]["tokens"] == result.statistics.tokens
    files = contents(tmp_path / "out")
    assert [shard["sha256"] for shard in manifest["shards"]] == [files[shard["file"]] for shard in manifest["shards"]]


def test_an_empty_split_is_refused(tmp_path: Path, model_folders: dict[str, Path]) -> None:
    write_source(tmp_path, "train.parquet", pa.table({"text": pa.array([], pa.string())}))
    write_source(tmp_path, "test.parquet", pa.table({"text": ["a"]}))
    splits = {"train": ("train.parquet",), "test": ("test.parquet",)}
    layout = read_source(tmp_path, SourcePlan("", DataFormat.PARQUET, splits, (), CsvOptions()), UNWATCHED)
    with pytest.raises(DatasetEmpty, match="'train'"):
        run(tmp_path, layout, load_tokenizer(model_folders["unigram"]), tmp_path / "out")


def test_gigatoken_is_left_when_its_ids_differ_on_the_data(
    model_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(model_folders["byte-level"])
    encode = GigatokenEngine.encode

    def wrong(self: GigatokenEngine, texts: Any) -> Any:
        encoded = encode(self, texts)
        encoded.ids[-1] += 1
        return encoded

    engine = choose_engine(tokenizer)
    assert engine.name == "gigatoken"
    engine.prove(lambda: ["data"])
    monkeypatch.setattr(GigatokenEngine, "encode", wrong)
    with pytest.raises(EnginesDiffer):
        engine.prove(lambda: ["data"])
    assert engine.own.name == "tokenizers"


def test_an_engine_that_does_not_prove_itself_leaves_nothing_and_no_progress(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def differ(*_: object) -> None:
        raise EnginesDiffer("other ids on the sample")

    seen: list[int] = []
    monkeypatch.setattr(GuardedEngine, "prove", differ)
    layout, tokenizer = dataset(tmp_path, english), load_tokenizer(model_folders["byte-level"])
    monitor = Monitor(lambda done, *_: seen.append(done), lambda: None)
    result = run(tmp_path, layout, tokenizer, tmp_path / "out", monitor)
    assert result.engine == "tokenizers"
    assert seen == sorted(seen)
    assert len(datasets.load_from_disk(str(tmp_path / "out"))) == len(english)


def test_both_engines_take_slices_and_empty_batches(model_folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(model_folders["byte-level"])
    texts = pa.array(["zero", "one", "", "naïve 日本", "four"], pa.string())
    for part in (texts, texts.slice(1, 3), texts.slice(2, 1), texts.slice(5)):
        own, fast = OwnEngine(tokenizer).encode(part), GigatokenEngine(tokenizer).encode(part)
        assert own.ids.tolist() == fast.ids.tolist()
        assert own.lengths.tolist() == fast.lengths.tolist()


def test_a_fast_engine_that_is_made_anew_on_the_way_gives_the_same_ids(
    model_folders: dict[str, Path], english: list[str]
) -> None:
    tokenizer = load_tokenizer(model_folders["byte-level"])
    engine, own = GigatokenEngine(tokenizer, renew_bytes=20_000), OwnEngine(tokenizer)
    made = [engine._tokenizer]
    for start in range(0, 300, 50):
        texts = pa.array(english[start : start + 50], pa.string())
        assert engine.encode(texts).ids.tolist() == own.encode(texts).ids.tolist()
        made.append(engine._tokenizer)
    assert len(set(map(id, made))) > 1


def test_shards_are_bounded_and_joined_by_the_library(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "train", shard_bytes=3000)
    for number in range(10):
        writer.write(np.full(200, number, np.int32), np.array([150, 0, 50]))
    shards = writer.finish()
    assert [shard.file for shard in shards] == [f"data-{n:05d}-of-{len(shards):05d}.arrow" for n in range(len(shards))]
    assert len(shards) > 3
    assert sum(shard.tokens for shard in shards) == 2000
    stored = datasets.load_from_disk(str(tmp_path))
    assert [len(ids) for ids in stored[IDS_COLUMN]] == [150, 0, 50] * 10


def test_documents_are_read_back_with_their_pieces(
    tmp_path: Path, model_folders: dict[str, Path], english: list[str]
) -> None:
    tokenizer = load_tokenizer(model_folders["byte-level"])
    layout = dataset(tmp_path, [*english[:400], "Hello, world"], english[:5])
    run(tmp_path, layout, tokenizer, tmp_path / "out")
    document, following = read_documents(tmp_path / "out", 400, 2, max_tokens=1000, token_budget=5000)
    assert (document.document, following.document) == (400, 401)
    assert "".join(document.tokens) == "Hello, world"
    assert list(document.token_ids) == tokenizer.backend.encode("Hello, world", add_special_tokens=False).ids
    assert len(read_documents(tmp_path / "out", 0, 100, max_tokens=1000, token_budget=1)) == 1
    (cut,) = read_documents(tmp_path / "out", 400, 1, max_tokens=2, token_budget=5000)
    assert (len(cut.token_ids), cut.total_tokens) == (2, document.total_tokens)
    assert read_documents(tmp_path / "out", 406, 10, max_tokens=5, token_budget=5000) == []

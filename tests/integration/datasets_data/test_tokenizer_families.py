"""The ids of every tokenizer family, compared one for one with what its own tokenizer makes."""

import logging
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest
from tokenizers import AddedToken, Tokenizer

from mistudio_datasets.data.incoming.csv_rows import CsvOptions
from mistudio_datasets.data.incoming.reading import read_source
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.data.tokens.engine_choice import choose_engine
from mistudio_datasets.data.tokens.engines import Encoded, EnginesDiffer, GigatokenEngine, OwnEngine
from mistudio_datasets.data.tokens.long_texts import encode_long
from mistudio_datasets.data.tokens.shards import IDS_COLUMN
from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, TokenizeResult, tokenize
from mistudio_datasets.domain.datasets import DataFormat
from mistudio_datasets.domain.progress import UNWATCHED
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from tests.hard_documents import hard_documents
from tests.tokenizer_families import FAMILIES, save_model

from .conftest import write_source

FAST = {
    "byte-level",
    "llama-3",
    "qwen-2",
    "chat tokens",
    "byte-fallback",
    "byte-fallback, words",
    "byte-fallback, split",
}
"""Families that gigatoken takes and gets right; it does not know the others, or gets added tokens wrong."""


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return hard_documents(10_000)


def run(folder: Path, texts: list[str], model: Path) -> TokenizeResult:
    write_source(folder, "train.parquet", pa.table({"text": texts}))
    plan = SourcePlan("default", DataFormat.PARQUET, {"train": ("train.parquet",)}, (), CsvOptions())
    layout = read_source(folder, plan, UNWATCHED)
    settings = TokenizationSettings("train", "text")
    what = TokenizeInput(folder, layout, "", settings, load_tokenizer(model), threads=2)
    return tokenize(what, folder / "out", UNWATCHED)


def stored(folder: Path) -> list[list[int]]:
    ids: list[list[int]] = datasets.load_from_disk(str(folder / "out"))[IDS_COLUMN][:]
    return ids


def own_ids(model: Path, texts: list[str]) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_thousand_hard_documents_get_the_ids_of_the_models_own_tokenizer(
    tmp_path: Path, documents: list[str], family: str
) -> None:
    model = save_model(family, tmp_path / "model")
    result = run(tmp_path, documents, model)
    assert stored(tmp_path) == own_ids(model, documents)
    assert result.engine == ("gigatoken" if family in FAST else "tokenizers")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("chunk", "overlap"), [(20_000, 4000), (9000, 3000)])
def test_a_text_encoded_in_overlapping_parts_gets_the_ids_of_the_whole(
    tmp_path: Path, documents: list[str], family: str, chunk: int, overlap: int
) -> None:
    tokenizer = load_tokenizer(save_model(family, tmp_path)).backend
    text = "".join(documents[:500])
    assert encode_long(tokenizer, text, chunk, overlap).tolist() == tokenizer.encode(text, add_special_tokens=False).ids
    for length in (chunk - 1, chunk, chunk + 1, chunk + overlap, chunk + overlap + 1):
        cut = text[:length]
        assert (
            encode_long(tokenizer, cut, chunk, overlap).tolist() == tokenizer.encode(cut, add_special_tokens=False).ids
        )


def test_a_text_without_any_seam_is_encoded_whole(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save_model("wordpiece", tmp_path)).backend
    text = "x" * 5000
    assert encode_long(tokenizer, text, 1000, 200).tolist() == tokenizer.encode(text, add_special_tokens=False).ids


def test_the_tokenizer_itself_takes_texts_of_many_megabytes_beside_short_ones(tmp_path: Path) -> None:
    engine = OwnEngine(load_tokenizer(save_model("wordpiece", tmp_path)))
    few = engine.encode(pa.array(["a few words "])).ids.tolist()
    encoded = engine.encode(pa.array(["a few words", "a few words " * 100_000, ""]))
    assert encoded.lengths.tolist() == [len(few), 100_000 * len(few), 0]
    assert encoded.ids.tolist() == few * 100_001


def test_a_fast_engine_that_misses_an_added_token_is_not_taken(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save_model("stripping tokens", tmp_path))
    texts = pa.array(["xwhole"])
    engine = choose_engine(tokenizer)
    with pytest.raises(EnginesDiffer):
        engine.prove(lambda: ["plain words"])
    assert GigatokenEngine(tokenizer).encode(texts).ids.tolist() != engine.own.encode(texts).ids.tolist()


@pytest.fixture
def composing_model(tmp_path: Path) -> Path:
    """A tokenizer whose added token is found in normalized text; gigatoken looks for it before it normalizes."""
    model = save_model("qwen-2", tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.add_tokens([AddedToken("ờ", normalized=True)])
    tokenizer.save(str(model / "tokenizer.json"))
    return model


def test_a_wrong_id_late_in_the_data_makes_the_tokenizer_itself_begin_again(
    tmp_path: Path, english: list[str], composing_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [*english * 12, "ngu\u031bo\u031b\u0300i", *english]
    choose_engine(load_tokenizer(composing_model)).prove(lambda: english)
    with caplog.at_level(logging.WARNING):
        result = run(tmp_path, texts, composing_model)
    assert "gives other ids" in caplog.text
    assert (result.engine, result.statistics.documents) == ("tokenizers", len(texts))
    assert stored(tmp_path) == own_ids(composing_model, texts)
    assert not list((tmp_path / "out").glob("part-*"))


@pytest.mark.parametrize("length", [40, 400_000])
def test_an_engine_that_errs_on_one_text_of_a_long_dataset_is_found_out(
    tmp_path: Path, english: list[str], monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    model = save_model("byte-level", tmp_path / "model")
    odd = "ສະບາຍດີ " * (length // 8)
    texts = [*english * 10, odd, *english * 3]
    encode = GigatokenEngine.encode

    def err(self: GigatokenEngine, batch: Any) -> Encoded:
        encoded = encode(self, batch)
        wrong = encoded.ids == load_id
        encoded.ids[wrong] = load_id + 1
        return encoded

    load_id = own_ids(model, ["ສ"])[0][-1]
    monkeypatch.setattr(GigatokenEngine, "encode", err)
    result = run(tmp_path, texts, model)
    assert result.engine == "tokenizers"
    assert stored(tmp_path)[len(english) * 10] == own_ids(model, [odd])[0]


def test_an_engine_that_fails_in_the_middle_is_replaced(
    tmp_path: Path, english: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model("byte-level", tmp_path / "model")
    encode, batches = GigatokenEngine.encode, iter(range(3))

    def fail(self: GigatokenEngine, batch: Any) -> Encoded:
        if next(batches, None) is None:
            raise RuntimeError("out of luck")
        return encode(self, batch)

    monkeypatch.setattr(GigatokenEngine, "encode", fail)
    result = run(tmp_path, english * 10, model)
    assert (result.engine, result.statistics.documents) == ("tokenizers", len(english) * 10)

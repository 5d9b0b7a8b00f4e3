"""Tokenizers that see every word alone, encoded word by word."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from mistudio_datasets.data.tokens.engine_choice import GuardedEngine
from mistudio_datasets.data.tokens.engines import Encoded, EnginesDiffer, OwnEngine
from mistudio_datasets.data.tokens.tokenizers import ModelTokenizer, load_tokenizer
from mistudio_datasets.data.tokens.words import WordEngine, sees_words_alone
from tests.hard_documents import hard_documents
from tests.tokenizer_families import FAMILIES, save_model, tokenizer_json

NORMALIZERS = {
    "none": None,
    "cased": normalizers.BertNormalizer(lowercase=False),
    "untouched": normalizers.BertNormalizer(False, False, False, False),
    "composing": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
    "stripping accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.NFC()]),
}
SPLITS = {
    "bert": pre_tokenizers.BertPreTokenizer(),
    "words": pre_tokenizers.Whitespace(),
    "spaces": pre_tokenizers.WhitespaceSplit(),
}


def wordpiece() -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json("wordpiece"))


def loaded(folder: Path, tokenizer: Tokenizer) -> ModelTokenizer:
    save_model("wordpiece", folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return load_tokenizer(folder)


class Listening(OwnEngine):
    """The tokenizer itself, which remembers what it was given."""

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        super().__init__(tokenizer)
        self.given: list[str] = []

    def encode(self, texts: pa.StringArray) -> Encoded:
        self.given += map(str, texts.to_pylist())
        return super().encode(texts)


def same(found: Encoded, expected: Encoded) -> bool:
    return np.array_equal(found.ids, expected.ids) and np.array_equal(found.lengths, expected.lengths)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("split", SPLITS)
def test_hard_documents_get_the_same_ids_word_by_word(tmp_path: Path, normalizer: str, split: str) -> None:
    made = wordpiece()
    made.normalizer, made.pre_tokenizer = NORMALIZERS[normalizer], SPLITS[split]
    tokenizer = loaded(tmp_path, made)
    own = OwnEngine(tokenizer)
    texts = pa.array([*hard_documents(600), " ", "\n", " a", "a\n", "a  b", "a\r\nb"], pa.string())
    assert sees_words_alone(tokenizer.backend)
    assert same(WordEngine(own).encode(texts), own.encode(texts))


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "wordpiece"])
def test_no_other_family_is_said_to_see_words_alone(family: str) -> None:
    assert not sees_words_alone(Tokenizer.from_str(tokenizer_json(family)))


@pytest.mark.parametrize(
    "token", [AddedToken("two words", normalized=False), AddedToken("word", normalized=True), AddedToken(" lead")]
)
def test_an_added_token_that_may_reach_over_a_space_keeps_texts_whole(token: AddedToken) -> None:
    tokenizer = wordpiece()
    tokenizer.add_tokens([token])
    assert not sees_words_alone(tokenizer)


@pytest.mark.parametrize(
    "normalizer", [normalizers.Replace(" ", ""), normalizers.Sequence([normalizers.NFC(), normalizers.Prepend("x")])]
)
def test_a_normalizer_that_may_see_more_than_a_word_keeps_texts_whole(normalizer: normalizers.Normalizer) -> None:
    tokenizer = wordpiece()
    tokenizer.normalizer = normalizer
    assert not sees_words_alone(tokenizer)


def test_slices_and_empty_batches_are_taken(tmp_path: Path) -> None:
    own = OwnEngine(load_tokenizer(save_model("wordpiece", tmp_path)))
    texts = pa.array(["zero one", "one  two\n", "", " naïve 日本", "four"], pa.string())
    for part in (texts, texts.slice(1, 3), texts.slice(2, 1), texts.slice(5)):
        assert same(WordEngine(own).encode(part), own.encode(part))


def test_every_word_is_asked_for_once(tmp_path: Path, english: list[str]) -> None:
    listening = Listening(load_tokenizer(save_model("wordpiece", tmp_path)))
    engine = WordEngine(listening)
    for _ in range(2):
        for start in range(0, 300, 100):
            engine.encode(pa.array(english[start : start + 100], pa.string()))
    words = {word for text in english[:300] for word in text.replace("\n", " ").split(" ")}
    assert sorted(listening.given) == sorted(words)


def test_words_that_were_forgotten_are_asked_for_again_and_give_the_same_ids(
    tmp_path: Path, english: list[str]
) -> None:
    listening = Listening(load_tokenizer(save_model("wordpiece", tmp_path)))
    own, engine = OwnEngine(load_tokenizer(tmp_path)), WordEngine(listening, known_bytes=2000)
    for start in range(0, 300, 50):
        texts = pa.array(english[start : start + 50], pa.string())
        assert same(engine.encode(texts), own.encode(texts))
    assert len(listening.given) > len(set(listening.given))


def test_a_long_text_is_encoded_whole(tmp_path: Path) -> None:
    listening = Listening(load_tokenizer(save_model("wordpiece", tmp_path)))
    text = "a few words " * 100
    WordEngine(listening, text_bytes=1000).encode(pa.array([text]))
    assert listening.given == [text]


def test_words_of_a_tokenizer_that_sees_more_are_found_out(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save_model("byte-level", tmp_path))
    own = OwnEngine(tokenizer)
    with pytest.raises(EnginesDiffer):
        GuardedEngine(tokenizer, own, WordEngine(own)).prove(lambda: ["plain words"])

"""What a word is."""

import pyarrow as pa
import pytest

from mistudio_datasets.data.ranking.word_texts import holds_text, row_words, rows_that_may_hold
from mistudio_datasets.data.ranking.words import phrases_of, spaced
from mistudio_servicekit.errors import InvalidSearch, MalformedFile


def _words(text: str) -> list[str]:
    return [word for word in spaced(pa.array([text]))[0].as_py().split(" ") if word]


def test_no_word_of_a_text_is_dropped() -> None:
    assert _words("The 3 is of 1.5, to the x_y") == ["the", "3", "is", "of", "1", "5", "to", "the", "x_y"]
    assert _words("Naïve CAFÉ, don't; ΣΑΣ") == ["naïve", "café", "don", "t", "σασ"]
    assert _words("हिन्दी ok") == ["हिन्दी", "ok"]
    assert _words("yes😀no ❤️") == ["yes", "😀", "no", "❤"]


def test_characters_of_scripts_without_spaces_are_words_each() -> None:
    assert _words("中文text한국 タワー ไทย") == ["中", "文", "text", "한", "국", "タ", "ワ", "ー", "ไ", "ท", "ย"]


def test_the_same_word_in_other_forms_is_the_same_word() -> None:
    assert _words("cafe\u0301") == _words("CAFÉ") == ["café"]
    assert _words("ＦＵＬＬ") == ["full"]


def test_a_very_long_word_becomes_several_in_a_row_and_is_found_as_such() -> None:
    long = "x" * 1000
    assert [len(word) for word in _words(long)] == [250] * 4
    assert phrases_of(long) == (tuple(_words(long)),)


def test_a_search_is_words_and_quoted_phrases_each_once() -> None:
    assert phrases_of('Fox "the quick  Fox" fox') == (("fox",), ("the", "quick", "fox"))
    assert phrases_of("state-of-the-art 中文") == (("state", "of", "the", "art"), ("中", "文"))
    assert phrases_of('an "open end') == (("an",), ("open",), ("end",))


def test_nothing_in_a_search_is_a_query_language() -> None:
    assert phrases_of('title:x AND -y* ~2 "a" OR [a TO b] \\ /r/') == (
        ("title", "x"), ("and",), ("y",), ("2",), ("a",), ("or",), ("to",), ("b",), ("r",),
    )  # fmt: skip


@pytest.mark.parametrize("search", ["", "  ", "?! --", '""', "\x00\u2028"])
def test_a_search_without_a_word_is_refused(search: str) -> None:
    with pytest.raises(InvalidSearch, match="no word") as caught:
        phrases_of(search)
    assert caught.value.field == "query.words"


def test_a_search_for_too_many_words_is_refused() -> None:
    assert len(phrases_of(" ".join(f"w{n}" for n in range(100)))) == 100
    with pytest.raises(InvalidSearch, match="101 words"):
        phrases_of(" ".join(f"w{n}" for n in range(101)))


def test_texts_inside_of_values_count_and_no_phrase_reaches_from_one_to_the_next() -> None:
    chats = pa.array([[{"role": "user", "content": "Hi there"}, {"role": "bot", "content": None}], None, []])
    words = row_words(chats).to_pylist()
    assert [word for word in str(words[0]).split(" ") if word] == ["user", "\x1f", "bot", "\x1f", "hi", "there"]
    assert words[1:] == ["", ""]
    assert rows_that_may_hold(chats, "there|x").tolist() == [True, False, False]
    maps = pa.array([[("key", "value")], None], pa.map_(pa.string(), pa.string()))
    assert row_words(maps).to_pylist() == ["key \x1f value", ""]
    fixed = pa.array([["a", "b"], None], pa.list_(pa.string(), 2))
    assert row_words(fixed.slice(1)).to_pylist() == [""]


def test_which_types_hold_text() -> None:
    record = pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])
    plain = (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))
    holding = (*plain, pa.list_(pa.string()), record, pa.map_(pa.string(), pa.int64()))
    assert all(holds_text(type_) for type_ in holding)
    media = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    assert not any(holds_text(type_) for type_ in (pa.int64(), pa.binary(), media, pa.list_(media), pa.null()))


def test_bytes_that_are_no_text_are_told() -> None:
    broken = pa.array([b"ok", b"\xff\xfe"], pa.binary()).view(pa.string())
    for look in (row_words, lambda column: rows_that_may_hold(column, "x")):
        with pytest.raises(MalformedFile, match="no UTF-8"):
            look(broken)

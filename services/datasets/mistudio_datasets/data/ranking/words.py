"""What a word is: one rule for the word index, for reading every row, and for what is searched.

A text becomes its words with spaces between them, in compatibility form (NFKC) and small letters. Punctuation, signs
and control characters part words; letters, digits, accents and the underscore make them. Nothing else is dropped: there
are no stop words, and what is longer than 250 characters becomes several words in a row. Characters of scripts that put
no spaces between words, and emoji, are words each; several of them in a row are found as a phrase.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias, cast

import pyarrow as pa
import pyarrow.compute as pc

from mistudio_servicekit.errors import InvalidSearch

Phrase: TypeAlias = tuple[str, ...]
"""Words that follow one another in a text; most phrases are a single word."""

MOST_WORDS = 100
"""Most words of one search."""

_PARTING = (
    r"[\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}\p{Zl}\p{Zp}\p{C}\p{Sc}\p{Sk}\p{Sm}"
    r"\x{A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}\x{FE00}-\x{FE0F}]"
)
_WORDS_EACH = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{So}\x{30FC}\x{FF70}])"
_LONGEST = r"([^ ]{250})"
_QUOTED_OR_PLAIN = re.compile(r'"([^"]*)"|([^\s"]+)')


def folded(texts: pa.StringArray) -> pa.StringArray:
    """The texts in NFKC and small letters: every word of a text is a part of this form of it."""
    composed = pc.utf8_normalize(texts, "NFKC")  # type: ignore[attr-defined]  # missing in the stubs
    return cast(pa.StringArray, pc.utf8_lower(composed))


def spaced(texts: pa.StringArray) -> pa.StringArray:
    """The words of every text with spaces (one or more) between them.

    Raises:
        pyarrow.ArrowInvalid: a text is no UTF-8.
    """
    parted = pc.replace_substring_regex(folded(texts), _PARTING, " ")
    parted = pc.replace_substring_regex(parted, _WORDS_EACH, r" \1 ")
    return pc.replace_substring_regex(parted, _LONGEST, r"\1 ")


def phrases_of(search: str) -> tuple[Phrase, ...]:
    """What a search looks for: its words, and its phrases in double quotes; each once.

    A word that holds several by the rule above (`state-of-the-art`, `中文`) is a phrase.

    Raises:
        InvalidSearch: there is no word in it, or more than 100.
    """
    parts = [quoted or plain for quoted, plain in _QUOTED_OR_PLAIN.findall(search)]
    phrases = tuple(dict.fromkeys(phrase for phrase in _split(parts) if phrase))
    if not phrases:
        raise InvalidSearch(
            f"There is no word in {search[:100]!r}",
            next_step="Give a word to search for, or search with contains for other characters",
            field="query.words",
        )
    count = sum(map(len, phrases))
    if count > MOST_WORDS:
        raise InvalidSearch(
            f"The search holds {count:,} words", next_step=f"Search for at most {MOST_WORDS}", field="query.words"
        )
    return phrases


def _split(parts: Sequence[str]) -> list[Phrase]:
    texts = spaced(pa.array(parts, pa.string())).to_pylist()
    return [tuple(word for word in (text or "").split(" ") if word) for text in texts]

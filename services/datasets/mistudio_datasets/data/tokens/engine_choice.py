"""Which engine makes the ids: a fast one where it proves to give the tokenizer's own ids, else the tokenizer itself.

The proof is a sample while the first batches are encoded, before they count, and a guard while the data passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mistudio_datasets.data.tokens.engines import (
    Encoded,
    Encoder,
    Engine,
    EnginesDiffer,
    GigatokenEngine,
    OwnEngine,
    Sample,
)
from mistudio_datasets.data.tokens.tokenizers import ModelTokenizer
from mistudio_datasets.data.tokens.words import WordEngine, sees_words_alone

HARD_TEXTS = (
    "", " ", "  ", "\n", "\r\n\r\n", " \n\t  x", "\u00a0\u2003\u200b", "\x00\x01\x7f", "\ufeffx", "\ufffd",
    "don't I'LL we'Ve 's 'S", "1234567890 3.14159 1,000,000 ½ ² ٣", "a" * 300, "ab" * 200, "!?" * 100, "_" * 80,
    "日本語の文章、中文句子。한국어 문장", "Ελληνικά עברית العربية हिन्दी ไทย", "e\u0301 ﬁ ǅ ß İ ı", "👩‍👩‍👧‍👦🏳️‍🌈😀🇩🇪",
    "def f(x):\n    return {'a': [x ** 2]}  # tab\there\n\n\n", "<html>&nbsp;</html> https://x.y/z?q=1#a user@host.tld",
    "[CLS] x [SEP] [MASK] <s> </s> <unk> <pad> <|endoftext|> <|im_start|> <0x0A>", "\U0010ffff\U000e0001 𝕏 𐍈",
    "The quick  brown   fox\tjumps\vover\fthe\u2028lazy\u0085dog. ", "ÀÉÎõü CamelCaseWord snake_case_word kebab-case",
)  # fmt: skip
"""Texts on which fast tokenizers are known to differ."""

_CHECKED_SHARE = 1 / 6000
_FIRST_CREDIT_BYTES = 2 << 10
_MOST_CREDIT_BYTES = 64 << 10
_MOST_NEW_IDS = 4
_WHOLE_TEXT_BYTES = 2 << 10
_EXCERPT_BYTES = 1 << 10
_IDS_AROUND = 6
_SEARCHED_BYTES = 256 << 10
_SEARCHED_IDS = 32 << 10


class GuardedEngine:
    """A fast engine under watch: in every batch a few texts are encoded by the tokenizer itself as well.

    What a fast engine gets wrong is rare in the data, or the sample would have shown it, and what is rare shows in ids
    that did not occur before. So texts with such ids go first, the rarest ids first; without any, a text by chance.
    One byte of 6,000 is checked; what one batch does not need, a later one may use.
    """

    def __init__(self, tokenizer: ModelTokenizer, own: OwnEngine, fast: Encoder) -> None:
        self.own = own
        self._fast = fast
        self._texts_with_added_tokens = _with_added_tokens(tokenizer)
        self._looked_at = np.zeros(tokenizer.id_count, np.bool_)
        self._credit = float(_FIRST_CREDIT_BYTES)
        self._draw = np.random.default_rng(0)

    @property
    def name(self) -> str:
        """The fast library."""
        return self._fast.name

    @property
    def version(self) -> str:
        """Its version."""
        return self._fast.version

    @property
    def batch_bytes(self) -> int:
        """As of the fast engine."""
        return self._fast.batch_bytes

    def encode(self, texts: pa.StringArray) -> Encoded:
        """The ids of `texts`, which holds no nulls, not checked. Raises `EnginesDiffer` when it cannot make them."""
        try:
            return self._fast.encode(texts)
        except (RuntimeError, ValueError) as error:
            raise EnginesDiffer(f"{self.name} {self.version} fails: {error}") from error

    def prove(self, sample: Sample) -> None:
        """Compare the engines on texts of the data, on `HARD_TEXTS` and on the added tokens.

        Raises:
            EnginesDiffer: they differ.
        """
        self._compare_all([*sample(), *HARD_TEXTS, *self._texts_with_added_tokens])

    def check(self, texts: pa.StringArray, encoded: Encoded, counts: npt.NDArray[np.int64]) -> None:
        """Check a few of `texts`, of which the fast engine made `encoded`; `counts` says how often each id is in it.

        Raises:
            EnginesDiffer: some ids are wrong.
        """
        self._credit = min(self._credit + texts.nbytes * _CHECKED_SHARE, _MOST_CREDIT_BYTES)
        ends = np.cumsum(encoded.lengths)
        whole: dict[int, str] = {}
        excerpts: list[str] = []
        for place in self._places(encoded.ids, counts):
            document = int(np.searchsorted(ends, place, side="right"))
            whole_text = _bytes_of(texts, document)
            if whole_text.size <= _WHOLE_TEXT_BYTES:
                text = whole[document] = whole_text.to_pybytes().decode()
            else:
                first = ends[document] - encoded.lengths[document]
                text = self._excerpt(whole_text, encoded.ids[first : ends[document]], int(place - first))
                excerpts.append(text)
            self._credit -= len(text)
        if whole:
            self._compare(pa.array(whole.values(), pa.string()), _encoded_of(list(whole), encoded, ends))
        if excerpts:
            self._compare_all(excerpts)

    def _places(self, ids: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> Iterator[int]:
        """Where ids lie that no text had before, of the rarest ones; without any, one place by chance."""
        new = np.flatnonzero((counts > 0) & ~self._looked_at)
        if len(new):
            for id_ in new[np.argpartition(counts[new], min(_MOST_NEW_IDS, len(new) - 1))[:_MOST_NEW_IDS]]:
                if self._credit > 0 and not self._looked_at[id_]:
                    self._looked_at[id_] = True
                    yield _first(ids, id_)
        elif len(ids) and self._credit > 0:
            yield int(self._draw.integers(len(ids)))

    def _excerpt(self, text: pa.Buffer, ids: npt.NDArray[np.int32], place: int) -> str:
        """The part of `text` around the id at `place` of its `ids`."""
        guess = text.size * place // len(ids)
        start = max(0, guess - _SEARCHED_BYTES // 2)
        searched = text.slice(start, min(_SEARCHED_BYTES, text.size - start)).to_pybytes()
        near = self.own.decode(ids[max(0, place - _IDS_AROUND) : place + _IDS_AROUND]).strip(" \ufffd")
        found = searched.find(near.encode()) if near else -1
        middle = found if found >= 0 else guess - start  # what was normalized is not found
        return searched[max(0, middle - _EXCERPT_BYTES // 2) :][:_EXCERPT_BYTES].decode(errors="ignore")

    def _compare_all(self, texts: Sequence[str]) -> None:
        wanted = pa.array(texts, pa.string())
        self._compare(wanted, self.encode(wanted))

    def _compare(self, texts: pa.StringArray, found: Encoded) -> None:
        expected = self.own.encode(texts)
        if not (np.array_equal(expected.lengths, found.lengths) and np.array_equal(expected.ids, found.ids)):
            raise EnginesDiffer(f"{self.name} {self.version} gives other ids than the tokenizer itself")
        self._looked_at[expected.ids] = True


def _first(ids: npt.NDArray[np.int32], id_: np.int64) -> int:
    """Where `id_` lies first in `ids`, which hold it."""
    start = 0
    while not (found := ids[start : start + _SEARCHED_IDS] == id_).any():
        start += _SEARCHED_IDS
    return start + int(np.argmax(found))


def _encoded_of(documents: list[int], encoded: Encoded, ends: npt.NDArray[np.int64]) -> Encoded:
    lengths = encoded.lengths[documents]
    parts = [encoded.ids[end - length : end] for end, length in zip(ends[documents], lengths, strict=True)]
    return Encoded(np.concatenate(parts), lengths)


def _bytes_of(texts: pa.StringArray, document: int) -> pa.Buffer:
    _, offsets, data = texts.buffers()
    first = texts.offset + document
    start, end = np.frombuffer(memoryview(cast(pa.Buffer, offsets)), np.int32)[first : first + 2].tolist()
    return cast(pa.Buffer, data).slice(start, end - start)


def choose_engine(tokenizer: ModelTokenizer) -> Engine:
    """The fastest one that knows this kind of tokenizer, under watch; `prove` tells whether it gets the ids right."""
    own = OwnEngine(tokenizer)
    if sees_words_alone(tokenizer.backend):
        return GuardedEngine(tokenizer, own, WordEngine(own))
    try:
        return GuardedEngine(tokenizer, own, GigatokenEngine(tokenizer))
    except (RuntimeError, ValueError, KeyError):
        return own


def _with_added_tokens(tokenizer: ModelTokenizer) -> list[str]:
    contents = [token.content for token in tokenizer.backend.get_added_tokens_decoder().values()]
    return [f"x{content}  {content}y" for content in contents]

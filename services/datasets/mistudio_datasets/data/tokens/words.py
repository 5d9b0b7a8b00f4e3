"""Texts encoded word by word, for tokenizers that see every word alone: the same few words come all the time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tokenizers

from mistudio_datasets.data.tokens.engines import Encoded, Encoder

_SEPARATORS = b" \n"
_SPLIT_AT_SPACE = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_STAY_WITHIN_WORDS = {"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"}
_MOST_TEXT_BYTES = 16 << 20
_MOST_KNOWN_BYTES = 16 << 20

_IdLists: TypeAlias = "pa.ListArray[pa.Int32Scalar]"


def sees_words_alone(backend: tokenizers.Tokenizer) -> bool:
    """Whether the ids of any text are those of its words, one after the other, where spaces and line feeds end words.

    So it is where the pre-tokenizer splits at white space and drops it, the normalizer looks at a character or one with
    its marks, which neither of the two ever is part of, and no added token reaches over them or is sought in normalized
    text. It may be so for more tokenizers, of which this does not tell.
    """
    splits = _steps(backend.pre_tokenizer, "pretokenizers")
    if len(splits) != 1 or not splits <= _SPLIT_AT_SPACE:
        return False
    added = backend.get_added_tokens_decoder().values()
    is_plain = all(not token.normalized and token.content.split() == [token.content] for token in added)
    return is_plain and _steps(backend.normalizer, "normalizers") <= _STAY_WITHIN_WORDS


def _steps(part: object, parts: str) -> set[str]:
    """Names of the steps of a normalizer or pre-tokenizer; none for None."""
    if part is None:
        return set()
    # What it is pickled to is its part of `tokenizer.json`.
    made: Mapping[str, Any] = json.loads(cast(bytes, part.__getstate__()))
    return {step["type"] for step in made.get(parts, [made])}


class WordEngine:
    """Another engine for a tokenizer that `sees_words_alone`, given every word once only."""

    batch_bytes = 2 << 20

    def __init__(self, encoder: Encoder, text_bytes: int = _MOST_TEXT_BYTES, known_bytes: int = _MOST_KNOWN_BYTES):
        """Larger batches than `text_bytes` go to `encoder` whole; words known beyond `known_bytes` are forgotten."""
        self._encoder = encoder
        self._text_bytes = text_bytes
        self._known_bytes = known_bytes
        self._known = _nothing_known()
        self._learning = Lock()

    @property
    def name(self) -> str:
        """Of the engine that makes the ids of words."""
        return self._encoder.name

    @property
    def version(self) -> str:
        """Of the engine that makes the ids of words."""
        return self._encoder.version

    def encode(self, texts: pa.StringArray) -> Encoded:
        """The ids of `texts`, which holds no nulls."""
        # The words of a very long text would take several times its memory, and nothing at all has no words.
        if not 0 < texts.nbytes <= self._text_bytes:
            return self._encoder.encode(texts)
        words, first_words = _words(texts)
        coded = words.dictionary_encode()
        with self._learning:  # one thread after the other, lest both encode the words that are new to them
            ids_of_words = self._ids_of(cast(pa.StringArray, coded.dictionary))
        ids = ids_of_words.take(coded.indices)
        ends = np.asarray(ids.offsets, np.int64)[first_words]
        return Encoded(np.asarray(ids.values, np.int32), np.diff(ends))

    def _ids_of(self, words: pa.StringArray) -> _IdLists:
        """The ids of each of `words`, which are all different."""
        if self._known.nbytes > self._known_bytes:
            self._known = _nothing_known()
        places = np.array(pc.index_in(words, self._known.words).fill_null(-1))
        is_new = places < 0
        places[is_new] = len(self._known.words) + np.arange(np.count_nonzero(is_new))
        new = words.filter(pa.array(is_new))
        self._known = self._known.joined(new, self._encoder.encode(new))
        return self._known.ids.take(pa.array(places))


@dataclass(frozen=True)
class _Known:
    """Words, and the ids of each."""

    words: pa.StringArray
    ids: _IdLists

    @property
    def nbytes(self) -> int:
        return self.words.nbytes + self.ids.nbytes

    def joined(self, words: pa.StringArray, encoded: Encoded) -> _Known:
        """This, and `words` that it does not hold."""
        ends = np.zeros(len(words) + 1, np.int32)
        np.cumsum(encoded.lengths, out=ends[1:])
        ids = cast(_IdLists, pa.ListArray.from_arrays(cast(pa.Int32Array, pa.array(ends)), pa.array(encoded.ids)))
        return _Known(pa.concat_arrays([self.words, words]), pa.concat_arrays([self.ids, ids]))


def _nothing_known() -> _Known:
    return _Known(pa.array([], pa.string()), cast(_IdLists, pa.array([], pa.list_(pa.int32()))))


def _words(texts: pa.StringArray) -> tuple[pa.StringArray, npt.NDArray[np.int64]]:
    """The words of all texts, without the separators, and the number of the first word of each text, and of the end."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(memoryview(cast(pa.Buffer, offsets)), np.int32)[texts.offset :][: len(texts) + 1]
    letters = np.frombuffer(memoryview(data), np.uint8)[bounds[0] : bounds[-1]] if data else np.empty(0, np.uint8)
    bounds = bounds - bounds[0]
    separates = np.logical_or.reduce([letters == separator for separator in _SEPARATORS])
    separators = np.flatnonzero(separates).astype(np.int32)
    before = np.searchsorted(separators, bounds)
    starts = np.concatenate([bounds - before, separators - np.arange(len(separators))]).astype(np.int32)
    starts.sort(kind="stable")
    kept = pa.array(letters[~separates]).buffers()[1]
    words = pa.StringArray.from_buffers(len(starts) - 1, cast(pa.Buffer, pa.array(starts).buffers()[1]), kept)
    return words, before + np.arange(len(bounds))

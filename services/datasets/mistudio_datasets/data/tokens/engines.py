"""What turns texts into ids: gigatoken, or the tokenizer itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from threading import Lock
from typing import Any, Protocol, cast

import awkward  # type: ignore[import-untyped]  # publishes no types
import gigatoken
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tokenizers

from mistudio_datasets.data.tokens.long_texts import CHUNK_CHARACTERS, encode_long
from mistudio_datasets.data.tokens.tokenizers import ModelTokenizer

_SMALL_BYTES = 64 << 10
_RENEW_BYTES = 256 << 20


@dataclass(frozen=True)
class Encoded:
    """Ids of a batch: all of them one after the other (int32), and how many belong to each text (int64)."""

    ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]


class EnginesDiffer(Exception):
    """An engine gave other ids than the tokenizer itself for a text of the data: all that it made is worthless."""


Sample = Callable[[], Sequence[str]]
"""Fetches texts of the data, where an engine has something to prove."""


class Encoder(Protocol):
    """Encodes batches of texts: whole, no special tokens added."""

    @property
    def name(self) -> str:
        """The library that makes the ids."""

    @property
    def version(self) -> str:
        """Its version."""

    @property
    def batch_bytes(self) -> int:
        """Bytes of text a batch should have: enough to keep all threads busy, few enough to bound memory."""

    def encode(self, texts: pa.StringArray) -> Encoded:
        """The ids of `texts`, which holds no nulls. Raises RuntimeError or ValueError when it cannot make them."""


class Engine(Encoder, Protocol):
    """An encoder whose ids are looked at, or need not be."""

    @property
    def own(self) -> Engine:
        """The tokenizer itself, to begin again with when `encode`, `prove` or `check` fails."""

    def prove(self, sample: Sample) -> None:
        """Look whether the ids are those of the tokenizer itself on `sample`, texts of the data.

        May go on in one thread while others encode. Raises `EnginesDiffer`.
        """

    def encode(self, texts: pa.StringArray) -> Encoded:
        """The ids of `texts`, which holds no nulls. Raises `EnginesDiffer` when it cannot make them."""

    def check(self, texts: pa.StringArray, encoded: Encoded, counts: npt.NDArray[np.int64]) -> None:
        """Look whether `encoded` is what the tokenizer itself makes of `texts`; called for every batch in order.

        `counts` says how often each id is in it. Raises `EnginesDiffer`.
        """


class OwnEngine:
    """The tokenizer itself."""

    name = "tokenizers"
    version = tokenizers.__version__
    batch_bytes = 1 << 20

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self._backend = tokenizer.backend

    @property
    def own(self) -> Engine:
        """Itself."""
        return self

    def prove(self, sample: Sample) -> None:
        """Nothing: its ids are right by definition."""

    def encode(self, texts: pa.StringArray) -> Encoded:
        """The ids of `texts`, which holds no nulls."""
        strings = cast(list[str], texts.to_pylist())
        if max(map(len, strings), default=0) > CHUNK_CHARACTERS:
            found = [encode_long(self._backend, text) for text in strings]
            return Encoded(np.concatenate(found), np.array([len(ids) for ids in found], np.int64))
        encodings = self._backend.encode_batch_fast(strings, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, int(lengths.sum()))
        return Encoded(ids, lengths)

    def decode(self, ids: npt.NDArray[np.int32]) -> str:
        """The text that `ids` stand for."""
        return self._backend.decode(ids.tolist(), skip_special_tokens=False)

    def check(self, texts: pa.StringArray, encoded: Encoded, counts: npt.NDArray[np.int64]) -> None:
        """Nothing: its ids are right by definition."""


class GigatokenEngine:
    """gigatoken, for byte-pair tokenizers."""

    name = "gigatoken"
    batch_bytes = 4 << 20

    def __init__(self, tokenizer: ModelTokenizer, renew_bytes: int = _RENEW_BYTES) -> None:
        """Raises RuntimeError or ValueError when gigatoken does not know this kind of tokenizer."""
        self._json = tokenizer.backend.to_str()
        self._renew_bytes = renew_bytes
        self._taken_bytes = 0
        self._renewing = Lock()
        self._tokenizer = gigatoken.Tokenizer.from_json(self._json)

    @property
    def version(self) -> str:
        """Version of gigatoken."""
        return version("gigatoken")

    def encode(self, texts: pa.StringArray) -> Encoded:
        """The ids of `texts`, which holds no nulls."""
        if len(texts) == 0:
            return Encoded(np.empty(0, np.int32), np.empty(0, np.int64))
        # Said explicitly: left to itself it uses one thread in a child process, and all threads for a few bytes.
        parallel = texts.nbytes > _SMALL_BYTES
        found = self._renewed(texts.nbytes).encode_batch(_borrowed(texts), parallel=parallel)
        layout = found.layout.to_ListOffsetArray64(True)
        offsets = np.asarray(layout.offsets.data, np.int64)
        ids = np.asarray(layout.content.data[: offsets[-1]], np.uint32)
        return Encoded(ids.view(np.int32), np.diff(offsets))

    def _renewed(self, size: int) -> gigatoken.Tokenizer:
        """The tokenizer for `size` more bytes; a new one now and then, because it keeps every word that it has met."""
        with self._renewing:
            self._taken_bytes += size
            if self._taken_bytes > self._renew_bytes:
                self._tokenizer, self._taken_bytes = gigatoken.Tokenizer.from_json(self._json), size
            return self._tokenizer


def _borrowed(texts: pa.StringArray) -> Any:
    """The same texts as an awkward array over the same memory; gigatoken takes 64-bit offsets only."""
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(memoryview(cast(pa.Buffer, offsets)), np.int32)[texts.offset :][: len(texts) + 1]
    letters = np.frombuffer(memoryview(data), np.uint8) if data else np.empty(0, np.uint8)
    content = awkward.contents.NumpyArray(letters, parameters={"__array__": "char"})
    index = awkward.index.Index64(bounds.astype(np.int64))
    return awkward.Array(awkward.contents.ListOffsetArray(index, content, parameters={"__array__": "string"}))


def set_threads(threads: int) -> None:
    """Let both libraries use this many threads; works once a process, before either has encoded anything."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"

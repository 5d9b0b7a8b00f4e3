"""What turns texts into ids: gigatoken where proven to give the tokenizer's own ids, else the tokenizer itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from typing import Any, Protocol, cast

import awkward  # type: ignore[import-untyped]  # publishes no types
import gigatoken
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tokenizers

from mistudio_datasets.data.tokenizers import ModelTokenizer

HARD_TEXTS = (
    "", " ", "  ", "\n", "\r\n\r\n", " \n\t  x", "\u00a0\u2003\u200b", "\x00\x01\x7f", "\ufeffx", "\ufffd",
    "don't I'LL we'Ve 's 'S", "1234567890 3.14159 1,000,000 ½ ² ٣", "a" * 300, "ab" * 200, "!?" * 100, "_" * 80,
    "日本語の文章、中文句子。한국어 문장", "Ελληνικά עברית العربية हिन्दी ไทย", "e\u0301 ﬁ ǅ ß İ ı", "👩‍👩‍👧‍👦🏳️‍🌈😀🇩🇪",
    "def f(x):\n    return {'a': [x ** 2]}  # tab\there\n\n\n", "<html>&nbsp;</html> https://x.y/z?q=1#a user@host.tld",
    "[CLS] x [SEP] [MASK] <s> </s> <unk> <pad> <|endoftext|> <|im_start|> <0x0A>", "\U0010ffff\U000e0001 𝕏 𐍈",
    "The quick  brown   fox\tjumps\vover\fthe\u2028lazy\u0085dog. ", "ÀÉÎõü CamelCaseWord snake_case_word kebab-case",
)  # fmt: skip
"""Texts on which fast tokenizers are known to differ."""


@dataclass(frozen=True)
class Encoded:
    """Ids of a batch: all of them one after the other (int32), and how many belong to each text (int64)."""

    ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]


class Engine(Protocol):
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
        """The ids of `texts`, which holds no nulls."""


class OwnEngine:
    """The tokenizer itself."""

    name = "tokenizers"
    version = tokenizers.__version__
    batch_bytes = 1 << 20

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        self._backend = tokenizer.backend

    def encode(self, texts: pa.StringArray) -> Encoded:
        """The ids of `texts`, which holds no nulls."""
        encodings = self._backend.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, int(lengths.sum()))
        return Encoded(ids, lengths)


class GigatokenEngine:
    """gigatoken, for byte-pair tokenizers."""

    name = "gigatoken"
    batch_bytes = 4 << 20

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        """Raises RuntimeError or ValueError when gigatoken does not know this kind of tokenizer."""
        self._tokenizer = gigatoken.Tokenizer.from_json(tokenizer.backend.to_str())

    @property
    def version(self) -> str:
        """Version of gigatoken."""
        return version("gigatoken")

    def encode(self, texts: pa.StringArray) -> Encoded:
        """The ids of `texts`, which holds no nulls."""
        if len(texts) == 0:
            return Encoded(np.empty(0, np.int32), np.empty(0, np.int64))
        # Explicitly parallel: left to itself it uses one thread in a child process.
        layout = self._tokenizer.encode_batch(_borrowed(texts), parallel=True).layout.to_ListOffsetArray64(True)
        offsets = np.asarray(layout.offsets.data, np.int64)
        ids = np.asarray(layout.content.data[: offsets[-1]], np.uint32)
        return Encoded(ids.view(np.int32), np.diff(offsets))


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


def choose_engine(tokenizer: ModelTokenizer, sample: Sequence[str]) -> Engine:
    """The engine for this data: gigatoken when its ids equal the tokenizer's own on `HARD_TEXTS` and on
    `sample`, texts of the data.
    """
    own = OwnEngine(tokenizer)
    try:
        fast = GigatokenEngine(tokenizer)
    except (RuntimeError, ValueError, KeyError):
        return own
    added = [f"x{token.content}  {token.content}y" for token in tokenizer.backend.get_added_tokens_decoder().values()]
    texts = pa.array([*sample, *HARD_TEXTS, *added], pa.string())
    return fast if _agree(own, fast, texts) else own


def _agree(own: OwnEngine, fast: GigatokenEngine, texts: pa.StringArray) -> bool:
    expected = own.encode(texts)
    try:
        found = fast.encode(texts)
    except (RuntimeError, ValueError):
        return False
    return np.array_equal(expected.lengths, found.lengths) and np.array_equal(expected.ids, found.ids)

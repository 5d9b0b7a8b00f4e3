"""The stored token ids of a tokenization, mapped into memory: ids and lengths are read only where they are touched."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

COUNTS_FILE = "token_counts.npy"
"""How often each id occurs in all documents, int64 by id; written by `tokenizing`."""

_INDEXES_KEPT = 64

Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TokenBatch:
    """Documents that lie next to one another in one file.

    Attributes:
        number: of the batch, from 0.
        first_document: number of its first document.
        first_token: number of its first token among all stored ones.
        offsets: first token of each document in `ids`, and behind the last the number of tokens; int32, mapped.
        ids: of all its documents, one after the other; int32, mapped.
    """

    number: int
    first_document: int
    first_token: int
    offsets: Ids
    ids: Ids

    def __len__(self) -> int:
        """Documents in it."""
        return len(self.offsets) - 1

    def lengths(self) -> Ints:
        """Tokens of each document."""
        return np.diff(self.offsets).astype(np.int64)


@dataclass(frozen=True)
class TokenIndex:
    """Where every batch lies. The arrays are int64.

    Attributes:
        files: names of the shards.
        shards: by batch, number of the file that holds it.
        offsets_at: by batch, first byte of its offsets in that file.
        ids_at: by batch, first byte of its ids.
        documents: documents before each batch, and behind the last all of them.
        tokens: tokens before each batch, and behind the last all of them.
    """

    files: tuple[str, ...]
    shards: Ints
    offsets_at: Ints
    ids_at: Ints
    documents: Ints
    tokens: Ints


class TokenFiles:
    """The documents of one complete tokenization.

    Only where the batches lie is kept between uses: a deleted tokenization gives its disk space back as soon as nobody
    reads it any more.

    Args:
        folder: of the tokenization.

    Raises:
        FileNotFoundError: it is gone; also raised by the methods.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = _index(folder)
        self._maps: dict[int, mmap.mmap] = {}

    @property
    def documents(self) -> int:
        """Documents in all."""
        return int(self.index.documents[-1])

    @property
    def tokens(self) -> int:
        """Tokens in all."""
        return int(self.index.tokens[-1])

    def __len__(self) -> int:
        """Batches in all."""
        return len(self.index.shards)

    def batch(self, number: int) -> TokenBatch:
        """The batch of this number."""
        index, mapped = self.index, self._mapped(int(self.index.shards[number]))
        documents = int(index.documents[number + 1] - index.documents[number])
        tokens = int(index.tokens[number + 1] - index.tokens[number])
        return TokenBatch(
            number,
            int(index.documents[number]),
            int(index.tokens[number]),
            _ints(mapped, int(index.offsets_at[number]), documents + 1),
            _ints(mapped, int(index.ids_at[number]), tokens),
        )

    def batches(self, first: int = 0) -> Iterator[TokenBatch]:
        """Every batch from number `first` on."""
        for number in range(first, len(self)):
            yield self.batch(number)
            self.forget_others(number)

    def batch_of_document(self, document: int) -> int:
        """Number of the batch that holds a document."""
        return int(np.searchsorted(self.index.documents, document, side="right")) - 1

    def batch_of_token(self, token: int) -> int:
        """Number of the batch that holds a token, numbered among all stored ones."""
        return int(np.searchsorted(self.index.tokens, token, side="right")) - 1

    @property
    def id_count(self) -> int:
        """One more than the highest id of the vocabulary."""
        return len(self._counts())

    def occurrences(self, id_: int) -> int:
        """How often an id occurs in all documents; 0 for ids that the vocabulary does not have."""
        counts = self._counts()
        return int(counts[id_]) if 0 <= id_ < len(counts) else 0

    def _counts(self) -> Ints:
        counts: Ints = np.load(self.folder / COUNTS_FILE, mmap_mode="r")
        return counts

    def release(self) -> None:
        """Give back the memory of what was read; it is read again where it is touched again."""
        for mapped in self._maps.values():
            mapped.madvise(mmap.MADV_DONTNEED)

    def forget_others(self, number: int) -> None:
        """Keep only the file of batch `number` mapped: what is mapped and was read counts as memory in use."""
        shard = int(self.index.shards[number])
        for other in list(self._maps):
            if other != shard:
                self._maps.pop(other, None)

    def _mapped(self, shard: int) -> mmap.mmap:
        # Other threads may map and forget meanwhile; a file that is mapped twice does no harm.
        mapped = self._maps.get(shard)
        if mapped is None:
            with (self.folder / self.index.files[shard]).open("rb") as file:
                mapped = self._maps[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return mapped


def _ints(mapped: mmap.mmap, at: int, count: int) -> Ids:
    return np.frombuffer(mapped, np.int32, count, at) if count else np.empty(0, np.int32)


@lru_cache(maxsize=_INDEXES_KEPT)
def _index(folder: Path) -> TokenIndex:
    """A complete tokenization never changes, so the heads of its batches are read once."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    files = tuple(file["filename"] for file in state["_data_files"])
    found = [(shard, *place) for shard, file in enumerate(files) for place in _places(folder / file)]
    shards, offsets_at, ids_at, documents, tokens = np.array(found, np.int64).reshape(-1, 5).T
    return TokenIndex(files, shards, offsets_at, ids_at, sums(documents), sums(tokens))


def _places(file: Path) -> Iterator[tuple[int, int, int, int]]:
    """Of each batch: the first byte of its offsets and of its ids, its documents, its tokens."""
    with pa.memory_map(str(file)) as mapped:
        whole = mapped.read_buffer()
        for batch in pa.ipc.open_stream(whole):
            documents = cast("pa.ListArray[Any]", batch.column(0))
            _, offsets, *_, ids = documents.buffers()
            assert offsets is not None, "a list has offsets"
            # Without a token there may be no buffer of ids.
            ids_at = ids.address - whole.address if ids is not None and ids.size else 0
            yield offsets.address - whole.address, ids_at, len(documents), len(documents.values)


def sums(values: Ints) -> Ints:
    """The sum of all values before each one, and behind the last that of all; int64, one longer."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)])

"""Token ids of texts too long for the tokenizer to take whole: it needs a hundred times their size in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tokenizers

CHUNK_CHARACTERS = 1 << 20
OVERLAP_CHARACTERS = 32 << 10

_Ids = npt.NDArray[np.int32]


def encode_long(
    tokenizer: tokenizers.Tokenizer, text: str, chunk: int = CHUNK_CHARACTERS, overlap: int = OVERLAP_CHARACTERS
) -> _Ids:
    """The ids of `text`, made from parts of `chunk` characters which overlap by `overlap`.

    What a token is depends on its neighbourhood. Each part goes on where the one before, after a quarter of the
    overlap, has the same ids at the same places for the next half of it. Where two parts do not agree so (a single
    word fills the overlap), the text is encoded whole.
    """
    part = _encode(tokenizer, text[: chunk + overlap], 0)
    joined = []
    for begin in range(chunk, len(text) - overlap, chunk):
        following = _encode(tokenizer, text[begin : begin + chunk + overlap], begin)
        low, high = begin + overlap // 4, begin + 3 * overlap // 4
        if not part.between(low, high).equals(following.between(low, high)):
            return _encode(tokenizer, text, 0).ids
        joined.append(part.between(0, low).ids)
        part = following.between(low, len(text) + 1)
    return np.concatenate([*joined, part.ids])


@dataclass(frozen=True)
class _Part:
    """Ids, and where in the whole text each starts."""

    ids: _Ids
    starts: npt.NDArray[np.int64]

    def between(self, low: int, high: int) -> _Part:
        """The ids that start from `low` to before `high`."""
        first, last = np.searchsorted(self.starts, [low, high])
        return _Part(self.ids[first:last], self.starts[first:last])

    def equals(self, other: _Part) -> bool:
        """Whether both have the same ids at the same places, and any."""
        is_same = np.array_equal(self.ids, other.ids) and np.array_equal(self.starts, other.starts)
        return bool(len(self.ids)) and is_same


def _encode(tokenizer: tokenizers.Tokenizer, text: str, begin: int) -> _Part:
    encoding = tokenizer.encode(text, add_special_tokens=False)
    starts = np.fromiter((start for start, _ in encoding.offsets), np.int64, len(encoding)) + begin
    return _Part(np.array(encoding.ids, np.int32), starts)

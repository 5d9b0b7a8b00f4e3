"""Tokenizations of any size without their bytes: the ids are holes in their files, which read as zeros."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mistudio_datasets.data.tokens.manifest import MANIFEST_FILE
from mistudio_datasets.data.tokens.shards import IDS_COLUMN, SHARD_BYTES, write_pieces
from mistudio_datasets.data.tokens.token_files import COUNTS_FILE

VOCABULARY = 50_000
BOS, EOS = 1, 2
_HOLE_BYTES = 1 << 20


class _SparseFile(io.RawIOBase):
    """A file in which large writes leave a hole."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if len(data) < _HOLE_BYTES:
            return self._file.write(data)
        self._file.seek(len(data), io.SEEK_CUR)
        return len(data)

    def close(self) -> None:
        self._file.truncate()
        self._file.close()
        super().close()


def write_sparse(folder: Path, documents: int, mean_tokens: int, batch_tokens: int = 1_000_000) -> int:
    """Write `documents` of 0.5 to 1.5 times `mean_tokens` as a tokenization; returns its tokens."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    batch = batch_tokens // mean_tokens
    offsets = np.zeros(batch + 1, np.int32)
    np.cumsum(draw.integers(mean_tokens // 2, mean_tokens * 3 // 2, batch), out=offsets[1:])
    column = pa.ListArray.from_arrays(cast(pa.Int32Array, pa.array(offsets)), pa.array(np.zeros(offsets[-1], np.int32)))
    arrow = pa.record_batch([column], names=[IDS_COLUMN])
    batches = documents // batch
    per_shard = SHARD_BYTES // arrow.nbytes
    names: list[str] = []
    for first in range(0, batches, per_shard):
        names.append(f"data-{len(names):05d}.arrow")
        with _SparseFile(folder / names[-1]) as file, pa.ipc.new_stream(pa.PythonFile(file, "w"), arrow.schema) as out:
            for _ in range(min(per_shard, batches - first)):
                out.write_batch(arrow)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    special = {"bos": {"id": BOS, "token": "<s>"}, "eos": {"id": EOS, "token": "</s>"}, "pad": None}
    (folder / MANIFEST_FILE).write_text(json.dumps({"tokenizer": {"special_tokens": special}}))
    write_pieces(folder, [f"piece{number}" for number in range(VOCABULARY)])
    counts = np.zeros(VOCABULARY, np.int64)
    counts[0] = batches * int(offsets[-1])
    np.save(folder / COUNTS_FILE, counts)
    return int(counts[0])

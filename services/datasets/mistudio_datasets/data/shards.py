"""Arrow shards as `datasets.Dataset.save_to_disk` writes them, and reading them back without the library."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from datasets.utils.py_utils import asdict as without_defaults

SHARD_BYTES = 500_000_000
"""As `save_to_disk` bounds its shards; far below the 2³¹ values that 32-bit offsets allow."""

IDS_COLUMN = "input_ids"
PIECES_FILE = "vocabulary.arrow"
_FEATURES = datasets.Features({IDS_COLUMN: datasets.List(datasets.Value("int32"))})


@dataclass(frozen=True)
class Shard:
    """A written shard: its file, documents, token ids, bytes, and SHA-256."""

    file: str
    documents: int
    tokens: int
    bytes: int
    sha256: str


class _HashingFile(io.RawIOBase):
    """A file that hashes what is written."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("wb")
        self._hash = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._hash.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class ShardWriter:
    """Writes batches of documents into shards, then the two JSON files that make the folder a dataset."""

    def __init__(self, folder: Path, split: str, shard_bytes: int = SHARD_BYTES) -> None:
        self._folder = folder
        self._split = split
        self._shard_bytes = shard_bytes
        self._shards: list[Shard] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._begin()

    def write(self, ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64]) -> None:
        """Append documents: their ids one after the other, and their lengths. A batch lies in one shard."""
        if self._documents and self._file.bytes + ids.nbytes > self._shard_bytes:
            self._end()
            self._begin()
        offsets = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        column = pa.ListArray.from_arrays(cast(pa.Int32Array, pa.array(offsets)), pa.array(ids))
        self._arrow.write_batch(pa.record_batch([column], schema=_FEATURES.arrow_schema))
        self._documents += len(lengths)
        self._tokens += len(ids)

    def finish(self) -> list[Shard]:
        """Close the last shard, name all, and complete the folder."""
        self._end()
        named = [self._name(number, shard) for number, shard in enumerate(self._shards)]
        digest = hashlib.sha256("".join(shard.sha256 for shard in named).encode()).hexdigest()
        _write_json(self._folder / "state.json", _state(named, self._split, fingerprint=digest[:16]))
        _write_json(self._folder / "dataset_info.json", _info())
        return named

    def close(self) -> None:
        """Close the open files; needed when the work stops before `finish`, harmless after."""
        if not self._file.closed:
            self._arrow.close()
            self._file.close()

    def _begin(self) -> None:
        self._documents, self._tokens = 0, 0
        self._file = _HashingFile(self._folder / f"part-{len(self._shards):05d}.arrow")
        self._arrow = pa.ipc.new_stream(pa.PythonFile(self._file, mode="w"), _FEATURES.arrow_schema)

    def _end(self) -> None:
        self.close()
        part = f"part-{len(self._shards):05d}.arrow"
        self._shards.append(Shard(part, self._documents, self._tokens, self._file.bytes, self._file.sha256))

    def _name(self, number: int, shard: Shard) -> Shard:
        """Only now is it known how many shards there are, which is part of each name."""
        name = f"data-{number:05d}-of-{len(self._shards):05d}.arrow"
        (self._folder / shard.file).rename(self._folder / name)
        return Shard(**(asdict(shard) | {"file": name}))


def _state(shards: list[Shard], split: str, fingerprint: str) -> dict[str, Any]:
    return {
        "_data_files": [{"filename": shard.file} for shard in shards],
        "_fingerprint": fingerprint,
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": split,
    }


def _info() -> dict[str, Any]:
    info = without_defaults(datasets.DatasetInfo(features=_FEATURES))
    return {key: info[key] for key in sorted(info)}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def write_pieces(folder: Path, pieces: list[str]) -> None:
    """Write the text of every id, so that sequences can be shown without the model."""
    table = pa.table({"piece": pa.array(pieces, pa.string())})
    with pa.ipc.new_file(str(folder / PIECES_FILE), table.schema) as writer:
        writer.write_table(table)


def pieces_of(folder: Path) -> list[str]:
    """The text of every id, by id; empty for ids that the vocabulary leaves out."""
    with pa.memory_map(str(folder / PIECES_FILE)) as mapped:
        return cast(list[str], pa.ipc.open_file(mapped).read_all()["piece"].to_pylist())


def batches_of(folder: Path) -> Iterator[pa.ListArray[Any]]:
    """The documents of all shards, in order, as memory-mapped lists: ids are read only when touched."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    for file in state["_data_files"]:
        with pa.memory_map(str(folder / file["filename"])) as mapped:
            for batch in pa.ipc.open_stream(mapped):
                yield cast("pa.ListArray[Any]", batch.column(0))


def lengths_of(folder: Path) -> Iterator[npt.NDArray[np.int64]]:
    """The lengths of all documents, in order, from the offsets alone."""
    for documents in batches_of(folder):
        yield np.diff(documents.offsets.to_numpy()).astype(np.int64)

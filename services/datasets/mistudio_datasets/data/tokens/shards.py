"""Arrow shards as `datasets.Dataset.save_to_disk` writes them, and reading them back without the library."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass, replace
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


@dataclass(frozen=True)
class Shard:
    """A written shard: its file, rows, token ids, bytes, and SHA-256."""

    file: str
    rows: int
    tokens: int
    bytes: int
    sha256: str

    def described(self, rows: str) -> dict[str, Any]:
        """This shard for a manifest, which calls its rows `rows`."""
        plain = asdict(self)
        return {rows if name == "rows" else name: value for name, value in plain.items()}


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
    """Writes batches of rows into shards, then the two JSON files that make the folder a dataset.

    Args:
        folder: gets the files; made if it is not there.
        split: the name that the dataset gives itself.
        shard_bytes: most bytes of ids in a shard, unless one batch has more.
        length: token ids of every row; None where each row has a length of its own.
    """

    def __init__(self, folder: Path, split: str, shard_bytes: int = SHARD_BYTES, *, length: int | None = None) -> None:
        self._folder = folder
        self._split = split
        self._shard_bytes = shard_bytes
        ids = datasets.List(datasets.Value("int32"), length=-1 if length is None else length)
        self._features = datasets.Features({IDS_COLUMN: ids})
        self._shards: list[Shard] = []
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("part-*.arrow"):  # by a writer that was stopped
            left.unlink()
        self._begin()

    def write(self, ids: npt.NDArray[np.int32], lengths: npt.NDArray[np.int64]) -> None:
        """Append documents: their ids one after the other, and their lengths. A batch lies in one shard."""
        offsets = np.zeros(len(lengths) + 1, np.int32)
        np.cumsum(lengths, out=offsets[1:])
        self._append(pa.ListArray.from_arrays(cast(pa.Int32Array, pa.array(offsets)), pa.array(ids)), ids)

    def write_sequences(self, ids: npt.NDArray[np.int32]) -> None:
        """Append sequences of the one length, shape (sequences, length). A batch lies in one shard."""
        self._append(pa.FixedSizeListArray.from_arrays(pa.array(ids.reshape(-1)), ids.shape[1]), ids)

    def _append(self, column: pa.Array[Any], ids: npt.NDArray[np.int32]) -> None:
        if self._rows and self._file.bytes + ids.nbytes > self._shard_bytes:
            self._end()
            self._begin()
        self._arrow.write_batch(pa.record_batch([column], schema=self._features.arrow_schema))
        self._rows += len(column)
        self._tokens += ids.size

    def finish(self) -> list[Shard]:
        """Close the last shard, name all, and complete the folder."""
        self._end()
        named = [self._name(number, shard) for number, shard in enumerate(self._shards)]
        digest = hashlib.sha256("".join(shard.sha256 for shard in named).encode()).hexdigest()
        _write_json(self._folder / "state.json", _state(named, self._split, fingerprint=digest[:16]))
        _write_json(self._folder / "dataset_info.json", _info(self._features))
        return named

    def close(self) -> None:
        """Close the open files; needed when the work stops before `finish`, harmless after."""
        if not self._file.closed:
            self._arrow.close()
            self._file.close()

    def _begin(self) -> None:
        self._rows, self._tokens = 0, 0
        self._file = _HashingFile(self._folder / f"part-{len(self._shards):05d}.arrow")
        self._arrow = pa.ipc.new_stream(pa.PythonFile(self._file, mode="w"), self._features.arrow_schema)

    def _end(self) -> None:
        self.close()
        part = f"part-{len(self._shards):05d}.arrow"
        self._shards.append(Shard(part, self._rows, self._tokens, self._file.bytes, self._file.sha256))

    def _name(self, number: int, shard: Shard) -> Shard:
        """Only now is it known how many shards there are, which is part of each name."""
        name = f"data-{number:05d}-of-{len(self._shards):05d}.arrow"
        (self._folder / shard.file).rename(self._folder / name)
        return replace(shard, file=name)


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


def _info(features: datasets.Features) -> dict[str, Any]:
    info = without_defaults(datasets.DatasetInfo(features=features))
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


def pieces_at(folder: Path, ids: npt.NDArray[np.int32]) -> list[str]:
    """The text of each of `ids`, without reading the whole vocabulary."""
    wanted, where = np.unique(ids, return_inverse=True)
    with pa.memory_map(str(folder / PIECES_FILE)) as mapped:
        pieces = pa.ipc.open_file(mapped).read_all()["piece"].take(wanted).to_pylist()
    return [pieces[at] for at in where.tolist()]

"""A checkpoint's weights, read from their files only when they are needed, with true progress.

transformers can map a file into memory instead, but then a model would go on living in a file of the shared store: it
would end with the file, be read anew under pressure, and its memory could not be told from the cache of the kernel.
"""

from __future__ import annotations

import json
import os
import pickle
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open

from mistudio_models.engine.folder import FolderSource
from mistudio_models.engine.headers import weight_files
from mistudio_models.engine.source import ModelSource, malformed, read_json
from mistudio_servicekit.errors import PickleRefused, UnsupportedFormat, WeightsMissing
from mistudio_servicekit.storage import confined

Report = Callable[[int, int], None]
"""Told bytes of weights that have been read, and how many there are in all; may raise to stop the reading."""

_LENGTH_BYTES = 8
# Between two chunks a load is told on and can be stopped, also in the middle of an embedding of gigabytes.
_CHUNK_BYTES = 16 * 1024 * 1024
_PICKLE_FILE = "pytorch_model.bin"
_PICKLE_INDEX = "pytorch_model.bin.index.json"

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
}  # fmt: skip


class StoredWeight(Protocol):
    """A tensor of a checkpoint, as transformers takes it: read by `weight[...]`."""

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in its file."""

    def __getitem__(self, index: EllipsisType) -> torch.Tensor:
        """The whole tensor, in memory of its own."""


class Reading:
    """Counts what has been read of a checkpoint.

    Args:
        report: is told of it.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done = 0
        self.total = 0

    def advance(self, count: int) -> None:
        """Note that `count` more bytes have been read.

        Raises:
            Exception: what `report` raises.
        """
        self._done += count
        self._report(self._done, self.total)


def open_checkpoint(source: FolderSource, report: Report, *, allow_pickle: bool) -> dict[str, StoredWeight]:
    """Every weight of the model in a folder by its name; none of a safetensors file is read yet.

    Args:
        source: the folder.
        report: see `Report`.
        allow_pickle: whether weights may be taken from pickles, where there are no safetensors. They are read by a
            reader that knows tensors and nothing else, so that they run no code.

    Raises:
        WeightsMissing: there are no weights.
        PickleRefused: they are there as pickles only, which are not allowed.
        MalformedFile: a file is not what its name says.
        UnsupportedFormat: a weight has a dtype that torch does not have.
    """
    reading = Reading(report)
    weights: dict[str, StoredWeight] = {}
    for path in weight_files(source):
        weights |= _of_safetensors(confined(source.folder, path), reading)
    if not weights:
        for path in _pickles(source, allow_pickle):
            weights |= _of_pickle(confined(source.folder, path), reading)
    reading.total = sum(weight.nbytes for weight in weights.values())
    return weights


class _File:
    """An open file, closed when the last weight that lies in it is forgotten."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.descriptor)


class _SafetensorsWeight:
    def __init__(self, file: _File, start: int, entry: Mapping[str, Any], reading: Reading) -> None:
        begin, end = entry["data_offsets"]
        self.nbytes = end - begin
        self._file = file
        self._offset = start + begin
        self._shape = entry["shape"]
        self._dtype = entry["dtype"]
        self._reading = reading

    def get_dtype(self) -> str:
        """As safetensors writes it: transformers asks weights of quantized checkpoints for it."""
        return str(self._dtype)

    def __getitem__(self, index: EllipsisType) -> torch.Tensor:
        content = torch.empty(self.nbytes, dtype=torch.uint8)
        memory = content.numpy().data
        done = 0
        while done < self.nbytes:
            count = os.preadv(self._file.descriptor, [memory[done : done + _CHUNK_BYTES]], self._offset + done)
            if count == 0:
                raise malformed(self._file.name, "ends in the middle of a weight")
            done += count
            self._reading.advance(count)
        return content.view(_DTYPES[self._dtype]).reshape(self._shape)


def _of_safetensors(path: Path, reading: Reading) -> dict[str, StoredWeight]:
    try:
        # Opening it checks all of the header: dtypes, shapes, and that the weights lie side by side within the file.
        with safe_open(path, framework="pt", backend="pread"):
            file = _File(path)
    except SafetensorError as error:
        raise malformed(path.name, f"is no whole safetensors file ({error})") from None
    length = int.from_bytes(os.pread(file.descriptor, _LENGTH_BYTES, 0), "little")
    header = json.loads(os.pread(file.descriptor, length, _LENGTH_BYTES))
    header.pop("__metadata__", None)
    for name, entry in header.items():
        if entry["dtype"] not in _DTYPES:
            raise UnsupportedFormat(
                f"The weight {name!r} has the dtype {entry['dtype']}, which cannot be loaded",
                next_step="Choose a repository with weights in BF16, F16 or F32",
            )
    start = _LENGTH_BYTES + length
    return {name: _SafetensorsWeight(file, start, entry, reading) for name, entry in header.items()}


class _PickledWeight:
    def __init__(self, tensor: torch.Tensor, reading: Reading) -> None:
        self.nbytes = tensor.nbytes
        self._tensor = tensor
        self._reading = reading

    def __getitem__(self, index: EllipsisType) -> torch.Tensor:
        copy = self._tensor.clone()
        self._reading.advance(self.nbytes)
        return copy


def _pickles(source: ModelSource, allow_pickle: bool) -> Sequence[str]:
    shards = read_json(source, _PICKLE_INDEX).get("weight_map")
    named = {str(path) for path in shards.values()} if isinstance(shards, dict) else {_PICKLE_FILE}
    found = sorted(named.intersection(source.sizes))
    if len(found) < len(named):
        raise WeightsMissing(
            "The model's files hold no weights that can be loaded, neither as safetensors nor as pickles of PyTorch",
            next_step="Download a repository or revision that has its weights as safetensors",
        )
    if not allow_pickle:
        raise PickleRefused(
            f"The model's weights are there as pickles only ({found[0]}), which can run code when they are read",
            next_step="Download a revision with safetensors, or have the operator set MISTUDIO_ALLOW_PICKLE to true",
        )
    return found


def _of_pickle(path: Path, reading: Reading) -> dict[str, StoredWeight]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError):
        raise malformed(path.name, "holds something else than weights, or is damaged") from None
    if not isinstance(content, dict):
        raise malformed(path.name, "holds no weights by their names")
    return {
        name: _PickledWeight(tensor, reading) for name, tensor in content.items() if isinstance(tensor, torch.Tensor)
    }

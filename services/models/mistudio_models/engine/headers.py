"""Exact tensors and parameters from the headers of safetensors files; the weights themselves are never read.

Format: 8 bytes with the header's length (little endian), then the header as JSON, then the weights.
https://huggingface.co/docs/safetensors#format
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from mistudio_models.engine.source import ModelSource, malformed, parse_object, read_json

SINGLE_FILE = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"

_LENGTH_BYTES = 8
# Most headers fit, so that one request is enough.
_FIRST_READ_BYTES = 64 * 1024
# What a tensor takes in a header beside its name: dtype, shape, two offsets and their punctuation.
_ENTRY_BYTES = 128
# The format's own limit.
_MAX_HEADER_BYTES = 100_000_000
_PARALLEL_READS = 32
_DTYPE = re.compile(r"[A-Z][A-Z0-9_]{0,15}")
_MAX_DIMENSIONS = 16
# The smallest dtype, F4, holds two values in a byte.
_MOST_VALUES_PER_BYTE = 2


class StoredTensor(NamedTuple):
    """A tensor as its file holds it: its dtype in the notation of safetensors (`BF16`), and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many values it holds."""
        return math.prod(self.shape)


def stored_tensors(source: ModelSource) -> dict[str, StoredTensor]:
    """Every tensor of the model by its name, over all shards; empty where there are no safetensors.

    Raises:
        MalformedFile: a header does not parse, or the index names a shard that is not there.
    """
    files = _header_bytes(source)
    tensors: dict[str, StoredTensor] = {}
    with ThreadPoolExecutor(_PARALLEL_READS, thread_name_prefix="headers") as readers:
        for held in readers.map(lambda path: _tensors(source, path, files[path]), files):
            tensors |= held
    return tensors


def parameters_by_dtype(source: ModelSource) -> dict[str, int]:
    """Exact number of stored values by dtype (`BF16`), over all shards; empty where there are no safetensors.

    Raises:
        MalformedFile: as `stored_tensors` says.
    """
    counts: Counter[str] = Counter()
    for tensor in stored_tensors(source).values():
        counts[tensor.dtype] += tensor.size
    return dict(counts)


def weight_files(source: ModelSource) -> Sequence[str]:
    """The safetensors files that make up the model: the shards of its index, its single file, or all at the top."""
    return list(_header_bytes(source))


def _header_bytes(source: ModelSource) -> Mapping[str, int]:
    """The files that make up the model, each with how much of it to read at first: its header, as far as is known."""
    if SHARD_INDEX in source.sizes:
        return _shards(source)
    if SINGLE_FILE in source.sizes:
        return {SINGLE_FILE: _FIRST_READ_BYTES}
    files = sorted(path for path in source.sizes if path.endswith(".safetensors") and "/" not in path)
    return dict.fromkeys(files, _FIRST_READ_BYTES)


def _shards(source: ModelSource) -> Mapping[str, int]:
    shards = read_json(source, SHARD_INDEX).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(path, str) for path in shards.values()):
        raise malformed(SHARD_INDEX, "has no weight_map of tensor names to files")
    expected: Counter[str] = Counter()
    for name, path in shards.items():
        expected[path] += _ENTRY_BYTES + len(name)
    for path in expected:
        if path not in source.sizes:
            raise malformed(SHARD_INDEX, f"names the file {path!r}, which is not there")
    return {path: _LENGTH_BYTES + _ENTRY_BYTES + expected[path] for path in sorted(expected)}


def _tensors(source: ModelSource, path: str, expected_bytes: int) -> dict[str, StoredTensor]:
    header, weights_bytes = _header(source, path, expected_bytes)
    return {name: _tensor(path, value, weights_bytes) for name, value in header.items() if name != "__metadata__"}


def _header(source: ModelSource, path: str, expected_bytes: int) -> tuple[Mapping[str, Any], int]:
    """The header of the file, and how many bytes of weights follow it."""
    start = source.read(path, 0, expected_bytes)
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    if len(start) < _LENGTH_BYTES or length > _MAX_HEADER_BYTES or end > source.sizes[path]:
        raise malformed(path, "does not begin like a safetensors file")
    if len(start) < end:
        start += source.read(path, len(start), end - len(start))
    return parse_object(path, start[_LENGTH_BYTES:end], "has a safetensors header that"), source.sizes[path] - end


def _tensor(path: str, value: Any, weights_bytes: int) -> StoredTensor:
    match value:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]} if (
            _DTYPE.fullmatch(dtype)
            and len(shape) <= _MAX_DIMENSIONS
            and all(type(size) is int and size >= 0 for size in shape)
            and 0 <= begin <= end <= weights_bytes
        ):
            tensor = StoredTensor(dtype, tuple(shape))
            if tensor.size <= (end - begin) * _MOST_VALUES_PER_BYTE:
                return tensor
    raise malformed(path, "has a safetensors header with a tensor whose dtype, shape or place cannot be")

"""Exact parameters from the headers of safetensors files; the weights themselves are never read.

Format: 8 bytes with the header's length (little endian), then the header as JSON, then the weights.
https://huggingface.co/docs/safetensors#format
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mistudio_models.engine.source import ModelSource, malformed, read_json

SINGLE_FILE = "model.safetensors"
SHARD_INDEX = "model.safetensors.index.json"

_LENGTH_BYTES = 8
# Most headers fit, so that one request is enough.
_FIRST_READ_BYTES = 64 * 1024
# The format's own limit.
_MAX_HEADER_BYTES = 100_000_000
_PARALLEL_READS = 8


def parameters_by_dtype(source: ModelSource) -> dict[str, int]:
    """Exact number of parameters by dtype (`BF16`), over all shards; empty where there are no safetensors.

    Raises:
        MalformedFile: a header does not parse, or the index names a shard that the repository lacks.
    """
    files = weight_files(source)
    with ThreadPoolExecutor(_PARALLEL_READS, thread_name_prefix="headers") as readers:
        counts = list(readers.map(lambda path: _count(source, path), files))
    return dict(sum(counts, Counter[str]()))


def weight_files(source: ModelSource) -> Sequence[str]:
    """The safetensors files that make up the model: the shards of its index, its single file, or all at the top."""
    if SHARD_INDEX in source.sizes:
        return _shards(source)
    if SINGLE_FILE in source.sizes:
        return [SINGLE_FILE]
    return sorted(path for path in source.sizes if path.endswith(".safetensors") and "/" not in path)


def _shards(source: ModelSource) -> Sequence[str]:
    shards = read_json(source, SHARD_INDEX).get("weight_map")
    if not isinstance(shards, dict) or not all(isinstance(path, str) for path in shards.values()):
        raise malformed(SHARD_INDEX, "has no weight_map of tensor names to files")
    files = sorted(set(shards.values()))
    for path in files:
        if path not in source.sizes:
            raise malformed(SHARD_INDEX, f"names the file {path!r}, which the repository lacks")
    return files


def _count(source: ModelSource, path: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    for name, tensor in _header(source, path).items():
        if name != "__metadata__":
            dtype, shape = _dtype_and_shape(path, tensor)
            counts[dtype] += math.prod(shape)
    return counts


def _header(source: ModelSource, path: str) -> Mapping[str, Any]:
    start = source.read(path, 0, _FIRST_READ_BYTES)
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    end = _LENGTH_BYTES + length
    if len(start) < _LENGTH_BYTES or length > _MAX_HEADER_BYTES or end > source.sizes[path]:
        raise malformed(path, "does not begin like a safetensors file")
    if len(start) < end:
        start += source.read(path, len(start), end - len(start))
    try:
        header = json.loads(start[_LENGTH_BYTES:end])
    except ValueError:
        raise malformed(path, "has a safetensors header that is not JSON") from None
    if not isinstance(header, dict):
        raise malformed(path, "has a safetensors header that is no JSON object")
    return header


def _dtype_and_shape(path: str, tensor: Any) -> tuple[str, Sequence[int]]:
    match tensor:
        case {"dtype": str(dtype), "shape": [*shape]} if all(isinstance(size, int) for size in shape):
            return dtype, shape
    raise malformed(path, "has a safetensors header with a tensor that lacks dtype or shape")

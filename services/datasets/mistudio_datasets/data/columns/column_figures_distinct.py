"""How many different values there are and which are the most frequent, in memory that does not grow with the rows."""

from __future__ import annotations

import re
from collections.abc import Hashable
from hashlib import blake2b
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mistudio_datasets.domain.column_statistics import ValueCount

MOST_EXACT = 100_000
"""Of more different values, their number is an estimate."""

TOP_VALUES = 20
SHOWN_CHARACTERS = 200

_SMALLEST = 1 << 16
_SECONDS_IN = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_OFFSET = re.compile(r"([+-]\d\d)(\d\d)$")

_Hashes: TypeAlias = npt.NDArray[np.uint64]


class Distinct:
    """The different values of a column: exactly up to 100,000 of them, then an estimate.

    Args:
        sketch: makes the estimate; may be None for a column of at most 100,000 rows.
    """

    def __init__(self, sketch: Sketch | None) -> None:
        self._sketch = sketch
        self._counts: dict[Hashable, int] = {}
        self._type: pa.DataType = pa.null()
        self.is_exact = True

    def add(self, values: pa.Array[Any]) -> None:
        """Count values, none of which is null or NaN; they always have the same type."""
        self._type = values.type
        if self._sketch is not None:
            self._sketch.add(values)
        if self.is_exact:
            self._count(pc.value_counts(_compared(values)))

    def _count(self, counted: pa.StructArray) -> None:
        if len(counted) <= MOST_EXACT:
            counts: list[int] = counted.field("counts").to_numpy().tolist()
            for value, count in zip(counted.field("values").to_pylist(), counts, strict=True):
                key = _key(value)
                self._counts[key] = self._counts.get(key, 0) + count
        if max(len(counted), len(self._counts)) > MOST_EXACT:
            self.is_exact, self._counts = False, {}

    @property
    def count(self) -> int:
        """Different values."""
        if self.is_exact:
            return len(self._counts)
        assert self._sketch is not None, "there are more rows than values that are kept"
        return self._sketch.estimate()

    def top(self) -> tuple[ValueCount, ...]:
        """The most frequent values, of equally frequent ones that which came first; none where no value repeats."""
        if max(self._counts.values(), default=0) < 2:
            return ()
        best = sorted(self._counts.items(), key=lambda item: -item[1])[:TOP_VALUES]
        values = [key[0] if isinstance(key, tuple) else key for key, _ in best]
        texts = shown(pa.array(values, _compared_type(self._type)).cast(self._type))
        return tuple(ValueCount(text, count) for text, (_, count) in zip(texts, best, strict=True))


def _key(value: Hashable) -> Hashable:
    """The value, or of a long one what is shown of it with a digest of the whole."""
    if isinstance(value, (str, bytes)) and len(value) > SHOWN_CHARACTERS:
        whole = value.encode() if isinstance(value, str) else value
        return value[:SHOWN_CHARACTERS], blake2b(whole, digest_size=16).digest()
    return value


def _compared_type(type_: pa.DataType) -> pa.DataType:
    """What values are compared as: times as numbers, fixed-size bytes as bytes of any size."""
    if pa.types.is_date32(type_) or pa.types.is_time32(type_):
        return pa.int32()
    if pa.types.is_fixed_size_binary(type_):
        return pa.binary()
    return pa.int64() if pa.types.is_temporal(type_) else type_


def _compared(values: pa.Array[Any]) -> pa.Array[Any]:
    return values.cast(_compared_type(values.type))


class Hasher:
    """64-bit hashes of values, by DuckDB: equal values have equal ones."""

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})

    def __call__(self, values: pa.Array[Any]) -> _Hashes:
        """The hash of every value."""
        plain = values.cast(pa.string()) if pa.types.is_decimal(values.type) else _compared(values)
        self._connection.register("given", pa.table({"value": plain}))
        hashes = self._connection.execute("SELECT hash(value) AS hash FROM given").fetchnumpy()["hash"]
        self._connection.unregister("given")
        return np.asarray(hashes, np.uint64)

    def close(self) -> None:
        """Give its memory back."""
        self._connection.close()


class Sketch:
    """An estimate of how many different values there are, from the 65,536 smallest hashes (within about 0.4 %).

    Args:
        hasher: makes the hashes.
    """

    def __init__(self, hasher: Hasher) -> None:
        self._hasher = hasher
        self._smallest: _Hashes = np.empty(0, np.uint64)

    def add(self, values: pa.Array[Any]) -> None:
        """Count values."""
        hashes = self._hasher(values)
        if len(self._smallest) == _SMALLEST:
            hashes = hashes[hashes < self._smallest[-1]]
        merged: _Hashes = np.union1d(self._smallest, hashes)
        self._smallest = merged[:_SMALLEST]

    def estimate(self) -> int:
        """Different values: so dense do the smallest hashes lie (Bar-Yossef et al., 2002)."""
        if len(self._smallest) < _SMALLEST:
            return len(self._smallest)
        return round((_SMALLEST - 1) / (float(self._smallest[-1]) / 2.0**64))


def shown(values: pa.Array[Any]) -> list[str]:
    """The values, none of which is null, as texts of at most 200 characters.

    Times are in ISO 8601, bytes are hexadecimal digits.
    """
    type_ = values.type
    if pa.types.is_duration(type_):
        counts: list[int] = values.cast(pa.int64()).to_numpy().tolist()
        return [_duration(count, _SECONDS_IN[type_.unit]) for count in counts]
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_):
        return [(value or b"")[: SHOWN_CHARACTERS // 2].hex() for value in values.cast(pa.binary()).to_pylist()]
    texts = [str(text)[:SHOWN_CHARACTERS] for text in values.cast(pa.string()).to_pylist()]
    return list(map(_iso_time, texts)) if pa.types.is_timestamp(type_) else texts


def _iso_time(text: str) -> str:
    """`2020-01-31 12:00:00.5+0200` with a T and a colon."""
    return _OFFSET.sub(r"\1:\2", text.replace(" ", "T", 1))


def _duration(count: int, unit: int) -> str:
    """`count` of which `unit` are a second."""
    whole, rest = divmod(abs(count), unit)
    fraction = f".{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{'-' * (count < 0)}PT{whole}{fraction}S"

"""Footers of the Parquet files of complete datasets, which never change, so each is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mistudio_datasets.data.incoming.parquet_files import open_parquet
from mistudio_datasets.data.incoming.schema import is_text

_CACHED_FOOTERS = 256
_DECIMAL_DIGITS = 38
_EXACT: Sequence[Callable[[pa.DataType], bool]] = (
    is_text,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_temporal,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_null,
)


@dataclass(frozen=True)
class CachedFooter:
    """What a file's footer tells.

    Attributes:
        metadata: as the library reads it.
        schema: columns and their types.
        starts: first row of every row group, and the rows of the file behind them.
        group_bytes: uncompressed bytes of every row group.
        is_exact: whether DuckDB reads every column so that a cast to its type gives the same values.
    """

    metadata: pq.FileMetaData
    schema: pa.Schema
    starts: list[int]
    group_bytes: list[int]
    is_exact: bool


@lru_cache(maxsize=_CACHED_FOOTERS)
def cached_footer(path: Path, name: str) -> CachedFooter:
    """The footer of a file; `name` is what people call it.

    Raises:
        FileNotFoundError: it is gone.
        MalformedFile: it is no Parquet file, or its footer is broken.
    """
    file = open_parquet(path, name)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    return CachedFooter(
        metadata=file.metadata,
        schema=file.schema_arrow,
        starts=list(accumulate((group.num_rows for group in groups), initial=0)),
        group_bytes=[group.total_byte_size for group in groups],
        is_exact=all(_is_exact(field.type, nested=False) for field in file.schema_arrow) and not _has_int96(file),
    )


def _has_int96(file: pq.ParquetFile) -> bool:
    """An old form of nanoseconds, of which DuckDB keeps microseconds."""
    schema = file.schema
    return any(schema.column(number).physical_type == "INT96" for number in range(len(schema.names)))


def _is_exact(type_: pa.DataType, nested: bool) -> bool:
    if pa.types.is_dictionary(type_):
        return not nested and _is_exact(type_.value_type, nested=True)
    if pa.types.is_struct(type_):
        names = [type_.field(number).name.lower() for number in range(type_.num_fields)]
        return all(names) and len(set(names)) == len(names) and all(_is_exact(f.type, nested=True) for f in type_)
    if pa.types.is_map(type_):
        return _is_exact(type_.key_type, nested=True) and _is_exact(type_.item_type, nested=True)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return _is_exact(type_.value_type, nested=True)
    if pa.types.is_decimal(type_):
        return bool(type_.precision <= _DECIMAL_DIGITS)
    return any(matches(type_) for matches in _EXACT)

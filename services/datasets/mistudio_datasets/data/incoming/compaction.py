"""Thousands of tiny Parquet files become a few: search and tokenization open every file of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from mistudio_datasets.data.incoming.parquet_files import open_parquet, readable_pages
from mistudio_datasets.data.incoming.parquet_writer import ROW_GROUP_BYTES, ROW_GROUP_ROWS, RowsWriter
from mistudio_datasets.data.incoming.sources import Source

MANY_FILES = 1000
TINY_BYTES = 1 << 20
_ROWS_AT_ONCE = 200


def is_scattered(sizes: Sequence[int]) -> bool:
    """Whether a split whose files have `sizes` bytes is to be compacted: many of them, and tiny on average."""
    return len(sizes) > MANY_FILES and sum(sizes) < len(sizes) * TINY_BYTES


def common_schema(known: pa.Schema | None, found: pa.Schema) -> pa.Schema | None:
    """The schema that takes the rows of both files with every value as it is; None where there is none.

    Columns may come in another order, and be without any value.
    """
    try:
        return found if known is None else pa.unify_schemas([known, found], promote_options="default")
    except pa.ArrowException:
        return None


def compact(sources: Iterable[Source], schema: pa.Schema, folder: Path) -> RowsWriter:
    """Copy the rows of `sources`, in order, to files in `folder`, in the `common_schema`; the sources stay.

    Memory is bounded by a row group.

    Raises:
        MalformedFile: a source is broken behind its footer.
    """
    held: list[pa.Table] = []
    rows, size = 0, 0
    with RowsWriter(folder, schema) as writer:
        for table in _tables(sources, schema):
            held.append(table)
            rows += len(table)
            size += table.nbytes
            if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
                writer.write(pa.concat_tables(held))
                held, rows, size = [], 0, 0
        if held:
            writer.write(pa.concat_tables(held))
    return writer


def _tables(sources: Iterable[Source], schema: pa.Schema) -> Iterator[pa.Table]:
    for source in sources:
        with open_parquet(source.path, source.name) as file, readable_pages(source.name):
            for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):  # to start them takes longer
                yield pa.Table.from_batches([batch]).select(schema.names).cast(schema)

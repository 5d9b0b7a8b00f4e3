"""A repository's Parquet files: their rows stay where they lie, unless they lie in thousands of tiny files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mistudio_datasets.data.incoming.compaction import common_schema, compact, is_scattered
from mistudio_datasets.data.incoming.conversion import split_info
from mistudio_datasets.data.incoming.parquet_files import open_parquet
from mistudio_datasets.data.incoming.schema import columns_of
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.domain.datasets import DataFormat, Layout, SplitInfo
from mistudio_datasets.domain.progress import Monitor
from mistudio_servicekit.errors import DatasetEmpty, MalformedFile

READING, COMPACTING = "reading", "compacting"
"""Stages: footers are read, then the rows of tiny files are copied."""


def bytes_to_copy(sizes: Mapping[str, Sequence[int]]) -> int:
    """Bytes of the splits that are compacted; `sizes` are the bytes of the files of each split."""
    return sum(sum(files) for files in sizes.values() if is_scattered(files))


def lay_out(folder: Path, config: str, sources: Mapping[str, Sequence[Source]], monitor: Monitor) -> Layout:
    """The layout of Parquet files that lie below `folder`; tiny ones are replaced by a few in `folder/rows`.

    Progress is in bytes: of all files, and of those that are compacted once more.

    Raises:
        MalformedFile: a file is no Parquet file, or has other columns than the others, or is broken.
        DatasetEmpty: there are no rows.
    """
    meter = _Meter(sources, monitor)
    columns = _Columns()
    splits = [_read_footers(split, files, columns, meter) for split, files in sources.items()]
    if columns.first is None or not any(split.rows for split in splits):
        names = ", ".join(source.name for files in sources.values() for source in files)
        raise DatasetEmpty(f"{names or 'The dataset'} holds no rows", next_step="Choose a dataset that holds rows")
    infos = [_compacted(folder, split, meter) if split.is_scattered else _in_place(folder, split) for split in splits]
    kept = {folder / file for info in infos for file in info.files}
    for source in (source for split in splits if split.is_scattered for source in split.files):
        if source.path not in kept:
            source.path.unlink(missing_ok=True)
    return Layout(config, DataFormat.PARQUET, tuple(infos), columns_of(columns.first))


@dataclass(frozen=True)
class _Split:
    """The files of a split, the rows of each, and the schema that takes all rows as they are, if there is one."""

    name: str
    files: Sequence[Source]
    file_rows: Sequence[int]
    schema: pa.Schema | None

    @property
    def rows(self) -> int:
        return sum(self.file_rows)

    @property
    def is_scattered(self) -> bool:
        return self.schema is not None and is_scattered([source.size_bytes for source in self.files])


class _Meter:
    def __init__(self, sources: Mapping[str, Sequence[Source]], monitor: Monitor) -> None:
        sizes = {split: [source.size_bytes for source in files] for split, files in sources.items()}
        self._total = sum(map(sum, sizes.values())) + bytes_to_copy(sizes)
        self._done = 0
        self._monitor = monitor

    def each(self, sources: Iterable[Source], stage: str) -> Iterator[Source]:
        """The sources, with a check for a stop before each and progress behind it."""
        for source in sources:
            self._monitor.check()
            yield source
            self._done += source.size_bytes
            self._monitor.report(self._done, self._total, "bytes", stage)


class _Columns:
    """The columns of the first file, which all others must have."""

    def __init__(self) -> None:
        self.first: pa.Schema | None = None

    def require_same(self, found: pa.Schema, name: str) -> None:
        """Raise MalformedFile if the columns of the file `name` are others."""
        self.first = self.first or found
        if set(self.first.names) != set(found.names):
            odd = sorted(set(self.first.names) ^ set(found.names))
            raise MalformedFile(
                f"{name} has other columns than the files before it: {', '.join(map(repr, odd))}",
                next_step="Choose a configuration whose files have the same columns",
                metadata={"file": name},
            )


def _read_footers(name: str, files: Sequence[Source], columns: _Columns, meter: _Meter) -> _Split:
    rows: list[int] = []
    schema: pa.Schema | None = None
    for source in meter.each(files, READING):
        with open_parquet(source.path, source.name) as file:
            found = file.schema_arrow
            columns.require_same(found, source.name)
            if schema is not None or not rows:
                schema = common_schema(schema, found)
            rows.append(file.metadata.num_rows)
    return _Split(name, files, rows, schema)


def _in_place(folder: Path, split: _Split) -> SplitInfo:
    return SplitInfo(
        name=split.name,
        rows=split.rows,
        bytes=sum(source.size_bytes for source in split.files),
        files=tuple(source.path.relative_to(folder).as_posix() for source in split.files),
        file_rows=tuple(split.file_rows),
    )


def _compacted(folder: Path, split: _Split, meter: _Meter) -> SplitInfo:
    assert split.schema is not None, "only files with a common schema are compacted"
    writer = compact(meter.each(split.files, COMPACTING), split.schema, folder / "rows" / split.name)
    return split_info(split.name, writer, folder)

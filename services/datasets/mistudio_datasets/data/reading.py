"""A dataset's files become a layout: Parquet stays where it lies, everything else becomes Parquet once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from mistudio_datasets.data.conversion import CONVERTING, PASSES, Converted, Source, convert, split_info
from mistudio_datasets.data.csv_rows import CsvOptions, csv_reader
from mistudio_datasets.data.formats import detect_format
from mistudio_datasets.data.json_rows import read_json
from mistudio_datasets.data.parquet_files import open_parquet
from mistudio_datasets.data.parquet_writer import ROW_GROUP_ROWS, RowsWriter
from mistudio_datasets.data.records import DamageLog, Reader
from mistudio_datasets.data.schema import columns_of
from mistudio_datasets.data.source_plan import SourcePlan
from mistudio_datasets.data.text_rows import read_text
from mistudio_datasets.domain.datasets import DEFAULT_SPLIT, DataFormat, Layout, SplitInfo
from mistudio_datasets.domain.progress import Monitor
from mistudio_servicekit.errors import DatasetEmpty, MalformedFile
from mistudio_servicekit.storage import confined

SOURCE_FOLDER = "source"
"""Below an epoch folder: files exactly as the Hub has them, or as uploaded."""


def read_source(folder: Path, plan: SourcePlan, monitor: Monitor) -> Layout:
    """The layout of the repository files in `folder/source`, as `plan` names them; may write `folder/rows`.

    Progress is in bytes, `bytes_to_read` in all where files are converted.

    Raises:
        MalformedFile: a file cannot be read as its format.
        DatasetEmpty: the splits hold no rows.
    """
    sources = {
        split: [Source(confined(folder / SOURCE_FOLDER, name), name) for name in names]
        for split, names in plan.splits.items()
    }
    if plan.format is DataFormat.PARQUET:
        return _in_place(folder, plan.config, sources, monitor)
    if plan.format is DataFormat.ARROW:
        converted = _from_arrow(folder, sources, monitor)
    else:
        converted = convert(sources, _reader(plan.format, plan.csv), plan.format, folder, monitor)
    return _layout(plan.config, plan.format, converted)


def bytes_to_read(format: DataFormat, source_bytes: int) -> int:
    """Bytes that converting files of `source_bytes` reads: none of Parquet, which stays where it lies."""
    passes = {DataFormat.PARQUET: 0, DataFormat.ARROW: 1}
    return passes.get(format, len(PASSES)) * source_bytes


def ingest_upload(folder: Path, file: Path, file_name: str, wanted: DataFormat | None, monitor: Monitor) -> Layout:
    """The layout of one uploaded file as the split `train`, written below `folder`.

    A Parquet file is linked (or copied) to `folder/source`; all else becomes `folder/rows/train`.

    Args:
        folder: the epoch folder of the dataset.
        file: where the upload lies.
        file_name: what its owner calls it; never used as a path.
        wanted: its format when the owner named one.
        monitor: gets progress in bytes of the file.

    Raises:
        DatasetEmpty: it holds no rows.
        MalformedFile: it cannot be read as its format, or none of its records can.
        UnsupportedFormat: no reader takes it.
    """
    format = detect_format(file, file_name, wanted)
    if format is DataFormat.PARQUET:
        kept = _keep(file, folder / SOURCE_FOLDER / "upload.parquet")
        return _in_place(folder, "", {DEFAULT_SPLIT: [Source(kept, file_name)]}, monitor)
    sources = {DEFAULT_SPLIT: [Source(file, file_name)]}
    return _layout("", format, convert(sources, _reader(format, CsvOptions()), format, folder, monitor))


def _reader(format: DataFormat, csv: CsvOptions) -> Reader:
    return {DataFormat.JSONL: read_json, DataFormat.CSV: csv_reader(csv), DataFormat.TEXT: read_text}[format]


def _layout(config: str, format: DataFormat, converted: Converted) -> Layout:
    damage = converted.damage
    columns = columns_of(converted.schema)
    return Layout(config, format, converted.splits, columns, damage.count, tuple(damage.first))


def _keep(file: Path, kept: Path) -> Path:
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.unlink(missing_ok=True)
    try:
        os.link(file, kept)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, kept)
    return kept


def _in_place(folder: Path, config: str, sources: Mapping[str, Sequence[Source]], monitor: Monitor) -> Layout:
    schema: pa.Schema | None = None
    total, done = sum(source.path.stat().st_size for files in sources.values() for source in files), 0
    splits = []
    for split, files in sources.items():
        rows = []
        for source in files:
            monitor.check()
            footer = open_parquet(source.path, source.name)
            schema = schema or footer.schema_arrow
            _require_same_columns(schema, footer.schema_arrow, source.name)
            rows.append(footer.metadata.num_rows)
            done += source.path.stat().st_size
            monitor.report(done, total, "bytes", "reading")
        splits.append(_split_in_place(folder, split, files, rows))
    if schema is None or not any(split.rows for split in splits):
        names = ", ".join(source.name for files in sources.values() for source in files)
        raise DatasetEmpty(f"{names or 'The dataset'} holds no rows", next_step="Choose a dataset that holds rows")
    return Layout(config, DataFormat.PARQUET, tuple(splits), columns_of(schema))


def _require_same_columns(expected: pa.Schema, found: pa.Schema, name: str) -> None:
    if set(expected.names) != set(found.names):
        odd = sorted(set(expected.names) ^ set(found.names))
        raise MalformedFile(
            f"{name} has other columns than the files before it: {', '.join(map(repr, odd))}",
            next_step="Choose a configuration whose files have the same columns",
            metadata={"file": name},
        )


def _split_in_place(folder: Path, split: str, files: Sequence[Source], rows: Sequence[int]) -> SplitInfo:
    return SplitInfo(
        name=split,
        rows=sum(rows),
        bytes=sum(source.path.stat().st_size for source in files),
        files=tuple(source.path.relative_to(folder).as_posix() for source in files),
        file_rows=tuple(rows),
    )


def _from_arrow(folder: Path, sources: Mapping[str, Sequence[Source]], monitor: Monitor) -> Converted:
    total = sum(source.path.stat().st_size for files in sources.values() for source in files)
    schema: pa.Schema | None = None
    splits, done = [], 0
    for split, files in sources.items():
        first = _arrow_schema(files[0])
        schema = schema or first
        with RowsWriter(folder / "rows" / split, schema) as writer:
            for source in files:
                for batch in _arrow_batches(source):
                    monitor.check()
                    writer.write(pa.Table.from_batches([batch]).cast(schema))
                    done += batch.nbytes
                    monitor.report(min(done, total), total, "bytes", CONVERTING)
        splits.append(split_info(split, writer, folder))
    monitor.report(total, total, "bytes", CONVERTING)
    assert schema is not None, "a plan names at least one file"
    return Converted(tuple(splits), schema, DamageLog(folder))


def _arrow_schema(source: Source) -> pa.Schema:
    with _open_arrow(source) as reader:
        return reader.schema


def _arrow_batches(source: Source) -> Iterator[pa.RecordBatch]:
    with _open_arrow(source) as reader:
        for batch in _all_batches(reader):
            for start in range(0, batch.num_rows, ROW_GROUP_ROWS):
                yield batch.slice(start, ROW_GROUP_ROWS)


def _all_batches(reader: pa.RecordBatchStreamReader | pa.RecordBatchFileReader) -> Iterator[pa.RecordBatch]:
    if isinstance(reader, pa.RecordBatchFileReader):
        return map(reader.get_batch, range(reader.num_record_batches))
    return iter(reader)


def _open_arrow(source: Source) -> pa.RecordBatchStreamReader | pa.RecordBatchFileReader:
    """The two forms of Arrow files: `datasets` writes streams."""
    mapped = pa.memory_map(str(source.path))
    try:
        return pa.ipc.open_stream(mapped)
    except pa.ArrowInvalid:
        try:
            return pa.ipc.open_file(mapped)
        except pa.ArrowInvalid as error:
            raise MalformedFile(
                f"{source.name} is no Arrow file: {error}", next_step="Tell the dataset's owner"
            ) from error

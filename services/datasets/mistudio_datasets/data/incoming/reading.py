"""A dataset's files become a layout: Parquet stays where it lies if it can, everything else becomes Parquet once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from mistudio_datasets.data.incoming.conversion import CONVERTING, PASSES, Converted, convert, split_info
from mistudio_datasets.data.incoming.csv_rows import CsvOptions, csv_reader
from mistudio_datasets.data.incoming.formats import detect_format
from mistudio_datasets.data.incoming.json_rows import read_json
from mistudio_datasets.data.incoming.parquet_sources import bytes_to_copy, lay_out
from mistudio_datasets.data.incoming.parquet_writer import ROW_GROUP_ROWS, RowsWriter
from mistudio_datasets.data.incoming.records import DamageLog, Reader
from mistudio_datasets.data.incoming.schema import columns_of
from mistudio_datasets.data.incoming.source_plan import SourcePlan
from mistudio_datasets.data.incoming.sources import Source
from mistudio_datasets.data.incoming.text_rows import read_text
from mistudio_datasets.domain.datasets import DEFAULT_SPLIT, DataFormat, Layout
from mistudio_datasets.domain.progress import Monitor
from mistudio_servicekit.errors import MalformedFile
from mistudio_servicekit.storage import confined

SOURCE_FOLDER = "source"
"""Below an epoch folder: files exactly as the Hub has them, or as uploaded."""

_COPY_BYTES = 8 << 20


def read_source(folder: Path, plan: SourcePlan, monitor: Monitor) -> Layout:
    """The layout of the repository files in `folder/source`, as `plan` names them; may write `folder/rows`.

    Progress is in bytes, `bytes_to_read` in all where files are converted.

    Raises:
        MalformedFile: a file cannot be read as its format.
        DatasetEmpty: the splits hold no rows.
    """
    sources = {
        split: [Source.whole(confined(folder / SOURCE_FOLDER, name), name) for name in names]
        for split, names in plan.splits.items()
    }
    if plan.format is DataFormat.PARQUET:
        return lay_out(folder, plan.config, sources, monitor)
    if plan.format is DataFormat.ARROW:
        converted = _from_arrow(folder, sources, monitor)
    else:
        converted = convert(sources, _reader(plan.format, plan.csv), plan.format, folder, monitor)
    return _layout(plan.config, plan.format, converted)


def bytes_to_read(plan: SourcePlan, sizes: Mapping[str, int]) -> int:
    """Bytes that `read_source` reads and writes anew: none of Parquet files, unless they are many and tiny.

    Args:
        plan: the files.
        sizes: bytes of every data file by name.
    """
    by_split = {split: [sizes[name] for name in names] for split, names in plan.splits.items()}
    data_bytes = sum(map(sum, by_split.values()))
    if plan.format is DataFormat.PARQUET:
        copied = bytes_to_copy(by_split)
        return data_bytes + copied if copied else 0
    return data_bytes if plan.format is DataFormat.ARROW else len(PASSES) * data_bytes


def ingest_upload(folder: Path, source: Source, wanted: DataFormat | None, monitor: Monitor) -> Layout:
    """The layout of one uploaded file as the split `train`, written below `folder`.

    A Parquet file is linked to `folder/source` (or copied, if it was cut on its way); all else becomes
    `folder/rows/train`.

    Args:
        folder: the epoch folder of the dataset.
        source: the upload.
        wanted: its format when the owner named one.
        monitor: gets progress in bytes of the file.

    Raises:
        DatasetEmpty: it holds no rows.
        MalformedFile: it cannot be read as its format, or none of its records can.
        UnsupportedFormat: no reader takes it.
    """
    format = detect_format(source, wanted)
    if format is DataFormat.PARQUET:
        kept = _keep(source, folder / SOURCE_FOLDER / "upload.parquet")
        return lay_out(folder, "", {DEFAULT_SPLIT: [Source.whole(kept, source.name)]}, monitor)
    sources = {DEFAULT_SPLIT: [source]}
    return _layout("", format, convert(sources, _reader(format, CsvOptions()), format, folder, monitor))


def _reader(format: DataFormat, csv: CsvOptions) -> Reader:
    if format is DataFormat.JSONL:
        return read_json
    return csv_reader(csv) if format is DataFormat.CSV else lambda source, _: read_text(source)


def _layout(config: str, format: DataFormat, converted: Converted) -> Layout:
    damage = converted.damage
    columns = columns_of(converted.schema)
    return Layout(config, format, converted.splits, columns, damage.count, tuple(damage.first))


def _keep(source: Source, kept: Path) -> Path:
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.unlink(missing_ok=True)
    try:
        if source.is_whole:
            os.link(source.path, kept)
            return kept
    except OSError:
        pass  # another file system, or one without links
    with source.open() as file, kept.open("wb") as copy:
        shutil.copyfileobj(file, copy, _COPY_BYTES)
    return kept


def _from_arrow(folder: Path, sources: Mapping[str, Sequence[Source]], monitor: Monitor) -> Converted:
    total = sum(source.size_bytes for files in sources.values() for source in files)
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

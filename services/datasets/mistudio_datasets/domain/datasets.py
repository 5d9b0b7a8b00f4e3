"""Datasets: their status, and where their rows lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from mistudio_servicekit.errors import DatasetEmpty, DatasetNotReady, SplitNotFound

DEFAULT_SPLIT = "train"
SHOWN_CHARACTERS = 200
"""Characters of a damaged line that are shown with its dataset."""

LISTED_COLUMNS = 100
"""Columns of a dataset that are shown in lists."""

SHOWN_TYPE_CHARACTERS = 1000
"""Characters of a column's type that are shown with its dataset: that of nested columns may have any number."""


class DatasetStatus(StrEnum):
    """Where a dataset is in its life; mirrors `mistudio.datasets.v1.DatasetStatus`."""

    DOWNLOADING = "DOWNLOADING"
    PROCESSING = "PROCESSING"
    READY = "READY"
    ERROR = "ERROR"
    CANCELLED = "CANCELLED"

    @property
    def ended_badly(self) -> bool:
        """Whether there are no files and none are on their way."""
        return self in (DatasetStatus.ERROR, DatasetStatus.CANCELLED)

    @property
    def is_running(self) -> bool:
        """Whether a job is bringing the dataset in."""
        return self in (DatasetStatus.DOWNLOADING, DatasetStatus.PROCESSING)


class DataFormat(StrEnum):
    """Form of data files; the first four can be uploaded (`mistudio.datasets.v1.UploadFormat`)."""

    JSONL = "JSONL"
    CSV = "CSV"
    PARQUET = "PARQUET"
    TEXT = "TEXT"
    ARROW = "ARROW"


class ColumnKind(StrEnum):
    """What a column holds, as far as browsing and tokenizing care."""

    TEXT = "TEXT"
    NUMBER = "NUMBER"
    BOOLEAN = "BOOLEAN"
    TIME = "TIME"
    LIST = "LIST"
    STRUCT = "STRUCT"
    BINARY = "BINARY"
    IMAGE = "IMAGE"
    AUDIO = "AUDIO"
    OTHER = "OTHER"


@dataclass(frozen=True)
class Column:
    """A column: its name, its type in Arrow's notation (`string`, `list<item: int64>`), and its kind."""

    name: str
    type: str
    kind: ColumnKind

    def shortened(self) -> Column:
        """The same with at most the first 1,000 characters of its type."""
        return replace(self, type=self.type[:SHOWN_TYPE_CHARACTERS])


@dataclass(frozen=True)
class SplitInfo:
    """A named part of a dataset.

    Attributes:
        name: for example `train`.
        rows: rows in all files.
        bytes: size of the files.
        files: Parquet files in row order, as posix paths relative to the dataset's epoch folder.
        file_rows: rows of each file, in the same order.
    """

    name: str
    rows: int
    bytes: int
    files: tuple[str, ...]
    file_rows: tuple[int, ...]


@dataclass(frozen=True)
class DamagedLine:
    """A record of a source file that could not be read and was set aside.

    Attributes:
        file: name of the source file.
        line: number of its first line, from 1.
        lines: how many lines it spans.
        byte_offset: where it begins in the (decompressed) file.
        byte_count: its length with line ends.
        reason: why it could not be read.
        text: its beginning, or None when it is not UTF-8.
        base64: its beginning when it is not UTF-8, otherwise None.
    """

    file: str
    line: int
    lines: int
    byte_offset: int
    byte_count: int
    reason: str
    text: str | None
    base64: str | None

    def shortened(self) -> DamagedLine:
        """The same with at most the first 200 characters."""
        cut = SHOWN_CHARACTERS
        return replace(self, text=self.text and self.text[:cut], base64=self.base64 and self.base64[:cut])


@dataclass(frozen=True)
class Layout:
    """Where the rows of a complete dataset lie; a JSON value beside the dataset's row.

    Attributes:
        config: Hub configuration, empty for uploads.
        format: what the source files were.
        splits: in the order of the dataset.
        columns: the same in every split.
        damaged_count: records set aside in all files; `damaged.jsonl` beside `rows/` lists every one.
        damaged: the first of them.
        more_columns: columns behind `columns` that were not read.
    """

    config: str
    format: DataFormat
    splits: tuple[SplitInfo, ...]
    columns: tuple[Column, ...]
    damaged_count: int = 0
    damaged: tuple[DamagedLine, ...] = ()
    more_columns: int = 0

    @property
    def rows(self) -> int:
        """Rows in all splits."""
        return sum(split.rows for split in self.splits)

    @property
    def bytes(self) -> int:
        """Bytes of the Parquet files of all splits."""
        return sum(split.bytes for split in self.splits)

    def split(self, name: str = "", *, field: str = "split") -> SplitInfo:
        """The split called `name`; with an empty name the only one, or `train`. `field` is the request's that names it.

        Raises:
            SplitNotFound: no such split, or no name given and several without a `train`.
            DatasetEmpty: there is no split at all.
        """
        if not self.splits:
            raise DatasetEmpty("The dataset has no splits", next_step="Choose a dataset that holds rows")
        wanted = name or (self.splits[0].name if len(self.splits) == 1 else DEFAULT_SPLIT)
        for split in self.splits:
            if split.name == wanted:
                return split
        raise split_not_found(wanted, [split.name for split in self.splits], field)

    def summary(self) -> Layout:
        """This layout without the files of its splits, which may be many; types and damaged lines are cut short."""
        return replace(
            self,
            splits=tuple(replace(split, files=(), file_rows=()) for split in self.splits),
            columns=tuple(column.shortened() for column in self.columns),
            damaged=tuple(line.shortened() for line in self.damaged),
        )

    def to_json(self) -> dict[str, Any]:
        """This layout as JSON-ready values."""
        return {
            "config": self.config,
            "format": self.format.value,
            "splits": [_split_json(split) for split in self.splits],
            "columns": [{"name": c.name, "type": c.type, "kind": c.kind.value} for c in self.columns],
            "damaged_count": self.damaged_count,
            "damaged": [asdict(line) for line in self.damaged],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Layout:
        """The layout that `to_json` described."""
        return cls(
            config=value["config"],
            format=DataFormat(value["format"]),
            splits=tuple(_split_from_json(split) for split in value["splits"]),
            columns=tuple(Column(c["name"], c["type"], ColumnKind(c["kind"])) for c in value["columns"]),
            damaged_count=value["damaged_count"],
            damaged=tuple(DamagedLine(**line) for line in value["damaged"]),
        )


def split_not_found(name: str, known: Sequence[str], field: str) -> SplitNotFound:
    """The error for an unknown split, naming those that exist; `field` is the request's that names it."""
    return SplitNotFound(
        f"There is no split {name!r}",
        next_step=f"Choose one of {', '.join(map(repr, known))}",
        field=field,
        metadata={"split": name, "splits": ",".join(known)},
    )


def _split_json(split: SplitInfo) -> dict[str, Any]:
    return vars(split) | {"files": list(split.files), "file_rows": list(split.file_rows)}


def _split_from_json(value: Mapping[str, Any]) -> SplitInfo:
    return SplitInfo(value["name"], value["rows"], value["bytes"], tuple(value["files"]), tuple(value["file_rows"]))


@dataclass(frozen=True)
class Dataset:
    """A dataset that was brought in from the Hub or uploaded.

    Attributes:
        id: its UUID.
        name: for people.
        status: where it is in its life.
        repo_id: Hub repository, empty for uploads.
        revision: what was asked for, for example `main`; empty for uploads.
        commit: what the revision was pinned to; empty for uploads.
        config: Hub configuration; empty means the default one.
        splits: splits that were asked for; empty means all.
        epoch: job attempt whose folder counts; 0 until READY.
        layout: where its rows lie; None until READY.
        size_bytes: bytes of its files in the store; 0 until READY.
        error: why its status is ERROR, as `MistudioError.to_record` gives it.
        labels: for people and filters.
        job_id: the job that brings or brought it in.
        version: grows with every change.
    """

    id: UUID
    name: str
    status: DatasetStatus
    repo_id: str
    revision: str
    commit: str
    config: str
    splits: tuple[str, ...]
    epoch: int
    layout: Layout | None
    size_bytes: int
    error: Mapping[str, Any] | None
    job_id: UUID
    create_time: datetime
    update_time: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    version: int = 1


def require_ready(dataset: Dataset) -> None:
    """Raise `DatasetNotReady` unless the dataset's files are complete."""
    if dataset.status is DatasetStatus.READY:
        return
    next_step = f"Wait for job {dataset.job_id}" if dataset.status.is_running else "Bring it in again, or retry its job"
    raise DatasetNotReady(
        f"Dataset {dataset.id} is {dataset.status}, not READY",
        next_step=next_step,
        metadata={"subject": f"dataset/{dataset.id}", "status": dataset.status.value},
    )

"""DuckDB over the store's Parquet files: one in-memory database a process, shared by all queries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import pyarrow as pa

from mistudio_servicekit.errors import MalformedFile, OutOfMemory

MEMORY_BYTES = 2 << 30
"""Most memory of all queries of a process together."""

BATCH_ROWS = 2048
Parameters = Mapping[str, Any]


class Stopped(Exception):
    """A query was stopped by its `Stop`; whoever stopped it expects no answer."""


class Stop:
    """Ends the queries that were begun with it, from another thread."""

    def __init__(self) -> None:
        self._asked = Event()
        self._cursor: duckdb.DuckDBPyConnection | None = None

    def stop(self) -> None:
        """End the running query and refuse further ones."""
        self._asked.set()
        if cursor := self._cursor:
            cursor.interrupt()

    def check(self) -> None:
        """Raise `Stopped` if it was asked to stop."""
        if self._asked.is_set():
            raise Stopped

    @contextmanager
    def watching(self, cursor: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Let `cursor` be interrupted within the block."""
        self._cursor = cursor
        try:
            self.check()
            yield
        finally:
            self._cursor = None


class QueryEngine:
    """Runs SQL over the files below one folder; can reach no others, load no extensions and write no spill files.

    SQL is always ours; what a client says goes in as parameters.
    """

    def __init__(self, folder: Path, memory_bytes: int = MEMORY_BYTES) -> None:
        self._database = duckdb.connect(
            ":memory:",
            config={
                "threads": os.cpu_count() or 1,
                "memory_limit": f"{memory_bytes >> 20}MiB",
                "temp_directory": "",
                "autoload_known_extensions": False,
                "autoinstall_known_extensions": False,
            },
        )
        self._database.execute("SET TimeZone = 'UTC'")
        # A store's root may be a link; its files are named through it.
        folders = [f"{folder.absolute()}/", f"{folder.resolve()}/"]
        self._database.execute("SET allowed_directories = $folders", {"folders": folders})
        self._database.execute("SET enable_external_access = false")
        self._database.execute("SET lock_configuration = true")

    def close(self) -> None:
        """Let the database go, once no query runs."""
        self._database.close()

    @contextmanager
    def reader(self, sql: str, parameters: Parameters, stop: Stop) -> Iterator[Iterator[pa.RecordBatch]]:
        """The answer in batches, made while they are taken; leaving the block ends the query.

        Raises:
            FileNotFoundError: a file that is named does not exist.
            MalformedFile: a file cannot be read.
            OutOfMemory: the query needs more memory than queries may have.
            Stopped: `stop` was used.
        """
        with self._database.cursor() as cursor, stop.watching(cursor), _typed_errors():
            reader = cursor.sql(sql, params=dict(parameters)).to_arrow_reader(BATCH_ROWS)
            try:
                yield _stoppable(reader, stop)
            finally:
                reader.close()

    def table(self, sql: str, parameters: Parameters, stop: Stop) -> pa.Table:
        """The whole answer; raises what `reader` does."""
        with self._database.cursor() as cursor, stop.watching(cursor), _typed_errors():
            table: pa.Table = cursor.sql(sql, params=dict(parameters)).to_arrow_table()
            return table

    def regex_fault(self, pattern: str) -> str:
        """Why RE2 refuses `pattern`, in its words; empty if it does not."""
        with self._database.cursor() as cursor:
            try:
                cursor.sql("SELECT regexp_matches('', $pattern)", params={"pattern": pattern}).fetchall()
            except duckdb.InvalidInputException as error:
                return str(error).removeprefix("Invalid Input Error: ").splitlines()[0]
        return ""


def _stoppable(reader: pa.RecordBatchReader, stop: Stop) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        stop.check()
        yield batch


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException:
        raise Stopped from None
    except duckdb.OutOfMemoryException as error:
        raise OutOfMemory(
            "The search needs more memory than searches may have",
            next_step="Search in fewer columns, or add a filter",
        ) from error
    except duckdb.IOException as error:
        if "No files found" in str(error):
            raise FileNotFoundError(str(error)) from error
        raise _broken(error) from error
    except duckdb.Error as error:
        raise _broken(error) from error


def _broken(error: duckdb.Error) -> MalformedFile:
    """File names stay in the log: the text may name folders of the store."""
    return MalformedFile(
        "A file of the split holds values that cannot be read as its columns' types",
        next_step="Search in other columns, or bring the dataset in again with files that have the same types",
    )


def literal_paths(paths: Sequence[Path]) -> list[str]:
    """`paths` as `read_parquet` takes them, with the characters escaped that it would take for wildcards."""
    return ["".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path)) for path in paths]

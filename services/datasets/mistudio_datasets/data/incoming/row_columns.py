"""The columns that records make: found by observing every one of them, then filled with their values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import pyarrow as pa

from mistudio_datasets.data.incoming.csv_values import is_text, observe_fields, typed_field, values_of_type
from mistudio_datasets.data.incoming.records import Row
from mistudio_datasets.data.incoming.shapes import Shape


class RowColumns(ABC):
    """The columns of rows of one kind.

    Attributes:
        shape: of the rows observed so far.
    """

    def __init__(self) -> None:
        self.shape = Shape()

    @abstractmethod
    def observe(self, record: Row | pa.Table) -> None:
        """Widen to take a row, or a table as readers give it."""

    @abstractmethod
    def table(self, rows: list[Row], schema: pa.Schema) -> pa.Table:
        """The rows as a table of this schema, which is that of the shape in the end."""

    @abstractmethod
    def fitted(self, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """The table, as readers give it, in this schema, which is that of the shape in the end."""


class ValueColumns(RowColumns):
    """Of rows that hold values; tables come in the schema that was told to their reader."""

    def observe(self, record: Row | pa.Table) -> None:
        """See `RowColumns`."""
        if isinstance(record, pa.Table):
            self.shape.observe_rows(record)
        else:
            self.shape.observe(record)

    def table(self, rows: list[Row], schema: pa.Schema) -> pa.Table:
        """See `RowColumns`."""
        arrays = [shape.fit_all([row.get(name) for row in rows]) for name, shape in self.shape.fields.items()]
        return pa.Table.from_arrays(arrays, schema=schema)

    def fitted(self, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """See `RowColumns`."""
        return rows


class FieldColumns(RowColumns):
    """Of rows that hold texts, which stand for values; tables have the columns of their file."""

    def __init__(self) -> None:
        super().__init__()
        self._texts = set[str]()

    def observe(self, record: Row | pa.Table) -> None:
        """See `RowColumns`."""
        if isinstance(record, pa.Table):
            self._observe_table(record)
        else:
            self.shape.observe(self._typed(record))

    def _observe_table(self, rows: pa.Table) -> None:
        self.shape.observe(dict.fromkeys(rows.column_names))
        for name in rows.column_names:
            for fields in rows[name].chunks if name not in self._texts else ():
                observe_fields(self.shape.fields[name], fields)
            if is_text(self.shape.fields[name]):
                self._texts.add(name)

    def _typed(self, fields: Row) -> dict[str, Any]:
        """The fields as the values they would be; a column that has been text once stays in `_texts`."""
        typed = {}
        for name, field in fields.items():
            typed[name] = field if field is None or name in self._texts else typed_field(field)
            if isinstance(typed[name], str):
                self._texts.add(name)
        return typed

    def table(self, rows: list[Row], schema: pa.Schema) -> pa.Table:
        """See `RowColumns`."""
        texts = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in schema.names}
        return self.fitted(pa.table(texts), schema)

    def fitted(self, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """See `RowColumns`."""
        known = set(rows.column_names)
        columns = [
            values_of_type(rows[field.name], field.type) if field.name in known else pa.nulls(len(rows), field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(columns, schema=schema)

"""Many lines of JSON at once, by Arrow's parser, where it reads exactly what `json_rows` would.

Arrow is told every field and its type and refuses all others: unknown and repeated keys, values of other types, broken
text. Where it is more lenient than JSON, or finds other values than Python, the block is refused here.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

_EXACT_FLOAT = pa.scalar(float(1 << 53))
_NEGATIVE_ZERO = re.compile(rb"-0\s*[,\]}]")  # an integer, hence zero, that Arrow would make the float -0.0
_ARROW_ROOM = 1024


def parse_json_lines(data: bytes, schema: pa.Schema) -> pa.Table | None:
    """All of `data`, whole lines, as a table of exactly `schema`; None if any line may be anything else."""
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if len(schema) == 0 or not _ends_objects_with_lines(data, lines) or _NEGATIVE_ZERO.search(data):
        return None
    try:
        table = _parse(data, schema)
        table.validate(full=True)  # finds text that is not UTF-8
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
        return None
    is_exact = table.num_rows == lines and table.schema.equals(schema) and all(map(_is_exact, _arrays(table)))
    return table if is_exact else None


def _parse(data: bytes, schema: pa.Schema) -> pa.Table:
    return pa.json.read_json(
        pa.BufferReader(data),  # type: ignore[arg-type]  # the stubs know no Arrow files, which spare a copy
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(data) + _ARROW_ROOM),
        parse_options=pa.json.ParseOptions(
            explicit_schema=schema, newlines_in_values=False, unexpected_field_behavior="error"
        ),
    )


def _ends_objects_with_lines(data: bytes, lines: int) -> bool:
    """Whether all lines begin and end with braces, so that an object ends at every line end or none of it is JSON.

    That each line holds one alone is known once there are as many rows as lines.
    """
    if data[:1] != b"{" or not data[-3:].rstrip(b"\r\n").endswith(b"}") or b"\0" in data:
        return False
    between = data.count(b"}\n{")
    return between == lines - 1 or between + data.count(b"}\r\n{") == lines - 1


def _arrays(table: pa.Table) -> list[pa.Array[Any]]:
    return [chunk for column in table.columns for chunk in column.chunks]


def _is_exact(values: pa.Array[Any]) -> bool:
    """Whether floats are certainly those in the file: not integers cut short, `Inf` or anything else beside JSON."""
    if isinstance(values, pa.ListArray):
        return _is_exact(values.values)
    if isinstance(values, pa.StructArray):
        return all(_is_exact(values.field(index)) for index in range(values.type.num_fields))
    if not pa.types.is_float64(values.type):
        return True
    return pc.all(pc.less(pc.abs(values), _EXACT_FLOAT)).as_py() is not False

"""JSON files: one object a line (JSON Lines), one array of objects, or objects one after the other."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from mistudio_datasets.data.incoming.json_blocks import parse_json_lines
from mistudio_datasets.data.incoming.line_blocks import FastPath, LineBlocks
from mistudio_datasets.data.incoming.records import DamagedRecord, Expected, Row, damaged, no_columns
from mistudio_datasets.data.incoming.streams import MAX_LINE_BYTES, Line, SourceFile
from mistudio_servicekit.errors import MalformedFile

_HEAD_BYTES = 64 << 10
_CHUNK_BYTES = 1 << 20
_DEEPEST = 200
_BETWEEN_VALUES = re.compile(r"[\s,]*")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(source: SourceFile, expected: Expected = no_columns) -> Iterator[Row | DamagedRecord | pa.Table]:
    """The objects of a JSON file; lines that hold none are set aside, blank lines are skipped.

    Many lines at once are a table, of the schema that `expected` gives at that time, if it gives one.

    Raises:
        MalformedFile: a file that is not line by line (an array, indented objects) has a syntax error.
    """
    head = source.peek(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
    is_line_by_line = not head.startswith(b"[") and head.split(b"\n", 1)[0].strip() != b"{"
    return _read_lines(source, expected) if is_line_by_line else _read_values(source)


def _read_lines(source: SourceFile, expected: Expected) -> Iterator[Row | DamagedRecord | pa.Table]:
    lines = LineBlocks(source)
    fast = FastPath(lines, lambda data: parse_json_lines(data, expected()))
    while True:
        while (table := fast.take()) is not None:
            yield table
        line = next(lines, None)
        if line is None:
            return
        if line.data.isspace():
            continue
        try:
            yield _parse_line(line)
        except (ValueError, RecursionError) as error:
            yield damaged(source.name, [line], _reason(error))


def _parse_line(line: Line) -> Row:
    line.require_whole()
    value = json.loads(line.data.decode())
    if not isinstance(value, dict):
        raise ValueError(f"not a JSON object but {_kind(value)}")
    if line.data.count(b"[") + line.data.count(b"{") > _DEEPEST:
        _require_shallow(value)
    if _SURROGATE_ESCAPE.search(line.data):
        json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    if b"\\u0000" in line.data:
        _require_plain_keys(value)
    return value


def _require_shallow(value: Any) -> None:
    """Raise `RecursionError` for what could be read but not written again."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise RecursionError
        level = [item for each in level for item in _items(each)]


def _items(value: Any) -> Iterator[Any]:
    items = value.values() if isinstance(value, dict) else value
    return (item for item in items if isinstance(item, (dict, list)))


def _require_plain_keys(value: Any) -> None:
    """Raise `ValueError` for a key that cannot name a column."""
    if isinstance(value, dict) and any("\0" in key for key in value):
        raise ValueError("a key holds a NUL character")
    for item in _items(value):
        _require_plain_keys(item)


def _kind(value: object) -> str:
    return {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 at byte {error.start} of the line"
    if isinstance(error, UnicodeEncodeError):
        return "half of a surrogate pair"
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos + 1}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "a number with too many digits" if "integer string conversion" in str(error) else str(error)


def _read_values(source: SourceFile) -> Iterator[Row]:
    for value in _values(source):
        if not isinstance(value, dict):
            raise MalformedFile(
                f"{source.name} holds {_kind(value)} where a JSON object is expected",
                next_step="Bring in a list of objects, or JSON Lines with one object a line",
            )
        yield value


def _values(source: SourceFile) -> Iterator[Any]:
    """The elements of the outermost array, or the values one after the other, with one value in memory at a time."""
    parse, decode = json.JSONDecoder().raw_decode, codecs.getincrementaldecoder("utf-8-sig")()
    buffer, wanted = "", _CHUNK_BYTES
    is_array = source.peek(_HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    unopened = is_array
    try:
        while chunk := source.read(wanted):
            buffer += decode.decode(chunk)
            if unopened:
                buffer, unopened = buffer.lstrip()[1:], False
            at = 0
            for value, end in _complete_values(parse, buffer):
                at = end
                yield value
            # A value larger than the buffer is parsed anew each time: doubling keeps that linear.
            wanted = _CHUNK_BYTES if at else min(2 * wanted, MAX_LINE_BYTES)
            buffer = buffer[at:]
            if len(buffer) > MAX_LINE_BYTES:
                break
    except (UnicodeDecodeError, RecursionError) as error:
        raise _malformed(source, _reason(error)) from error
    rest = buffer.strip().rstrip(",").strip()
    if rest and not (is_array and rest == "]"):
        raise _malformed(source, f"no JSON value begins or ends rightly at {rest[:80]!r}")


def _complete_values(parse: Any, buffer: str) -> Iterator[tuple[Any, int]]:
    at = 0
    while at < len(buffer):
        start = _BETWEEN_VALUES.match(buffer, at)
        try:
            value, at = parse(buffer, start.end() if start else at)
        except json.JSONDecodeError:
            return
        yield value, at


def _malformed(source: SourceFile, reason: str) -> MalformedFile:
    return MalformedFile(
        f"{source.name} is not JSON: {reason}",
        next_step="Mend the file, or bring it in as JSON Lines, where damaged lines are set aside one by one",
    )

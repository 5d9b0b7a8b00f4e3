"""The texts of a column as they are searched for words: plain ones, and those inside lists, records and maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from mistudio_datasets.data.browsing.query_search import column_not_found
from mistudio_datasets.data.incoming.parquet_files import open_parquet
from mistudio_datasets.data.incoming.schema import is_media_struct, is_text
from mistudio_datasets.data.ranking.words import folded, spaced
from mistudio_datasets.domain.datasets import ColumnKind, Layout
from mistudio_servicekit.errors import InvalidSearch, MalformedFile
from mistudio_servicekit.storage import confined

_Ints: TypeAlias = npt.NDArray[np.int64]

_BETWEEN_TEXTS = " \x1f "
"""Parts the texts of one value. It counts as a word that no search can hold, so no phrase reaches from text to text."""

_MEDIA = (ColumnKind.IMAGE, ColumnKind.AUDIO)


def text_columns(folder: Path, layout: Layout, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns to search in, in the order of the dataset: those of `wanted`, or all that hold text.

    Raises:
        ColumnNotFound: there is no such column.
        InvalidSearch: a wanted column holds no text.
    """
    known = {column.name: column for column in layout.columns}
    types = _types(folder, layout)
    texts = [name for name, column in known.items() if column.kind not in _MEDIA and holds_text(types[name])]
    for name in wanted:
        if name not in known:
            raise column_not_found(name, layout, "query.search_columns")
        if name not in texts:
            raise InvalidSearch(
                f"The column {name!r} is {known[name].type}, which holds no text",
                next_step=f"Search in {', '.join(map(repr, texts[:10])) or 'a dataset that has texts'}",
                field="query.search_columns",
            )
    return tuple(name for name in texts if not wanted or name in wanted)


def _types(folder: Path, layout: Layout) -> dict[str, pa.DataType]:
    for split in layout.splits:
        for name in split.files:
            schema = open_parquet(confined(folder, name), name).schema_arrow
            return {field.name: field.type for field in schema}
    return {column.name: pa.null() for column in layout.columns}


def holds_text(type_: pa.DataType) -> bool:
    """Whether values of this type are texts or hold some."""
    if isinstance(type_, pa.BaseExtensionType):
        return holds_text(type_.storage_type)
    if pa.types.is_map(type_):
        return holds_text(type_.key_type) or holds_text(type_.item_type)
    if pa.types.is_struct(type_):
        return not is_media_struct(type_) and any(holds_text(field.type) for field in type_)
    if _is_list(type_):
        return holds_text(cast("pa.ListType[Any]", type_).value_type)
    return is_text(type_)


def row_words(column: pa.Array[Any]) -> pa.StringArray:
    """The words of every row, as `words.spaced` gives them; rows without texts have none.

    Raises:
        MalformedFile: a text is no UTF-8.
    """
    try:
        return _row_words(column)
    except pa.ArrowInvalid as error:
        raise not_utf8() from error


def not_utf8() -> MalformedFile:
    """The error for bytes that are kept as text but are none."""
    next_step = "Repair the files and bring the dataset in again"
    return MalformedFile("A text in the dataset is no UTF-8", next_step=next_step)


def _row_words(column: pa.Array[Any]) -> pa.StringArray:
    if is_text(column.type):
        return spaced(cast(pa.StringArray, column.cast(pa.string()).fill_null("")))
    found = list(_texts(column, np.arange(len(column))))
    if not found:
        return pa.array([""] * len(column), pa.string())
    rows = np.concatenate([part for part, _ in found])
    texts = spaced(pa.concat_arrays([part for _, part in found]))
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[order], np.arange(len(column) + 1))
    lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), texts.take(order))
    return cast(pa.StringArray, pc.binary_join(lists, _BETWEEN_TEXTS))


def rows_that_may_hold(column: pa.Array[Any], pattern: str) -> npt.NDArray[np.bool_]:
    """Which rows have a text whose folded form matches the regular expression `pattern` (RE2).

    Raises:
        MalformedFile: a text is no UTF-8.
    """
    matching = np.zeros(len(column), bool)
    try:
        for rows, texts in _texts(column, np.arange(len(column))):
            found = pc.match_substring_regex(folded(texts), pattern)
            matching[rows[found.to_numpy(zero_copy_only=False)]] = True
    except pa.ArrowInvalid as error:
        raise not_utf8() from error
    return matching


def _texts(column: pa.Array[Any], rows: _Ints) -> Iterator[tuple[_Ints, pa.StringArray]]:
    """The texts of a column and the row of each; no row is null."""
    type_ = column.type
    if isinstance(type_, pa.BaseExtensionType):
        yield from _texts(cast("pa.ExtensionArray[Any]", column).storage, rows)
    elif is_text(type_):
        there = column.is_valid()
        yield rows[there.to_numpy(zero_copy_only=False)], cast(pa.StringArray, column.filter(there).cast(pa.string()))
    elif pa.types.is_map(type_):
        entry = pa.struct([("key", type_.key_type), ("value", type_.item_type)])
        yield from _texts(column.cast(pa.list_(entry)), rows)
    elif _is_list(type_) and holds_text(type_):
        yield from _texts(pc.list_flatten(column), rows[pc.list_parent_indices(column).to_numpy(zero_copy_only=False)])
    elif pa.types.is_struct(type_) and holds_text(type_):
        for field in cast(pa.StructArray, column).flatten():
            yield from _texts(field, rows)


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))

"""Columns of Parquet files: their types, and what they hold."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from mistudio_datasets.domain.datasets import Column, ColumnKind
from mistudio_servicekit.errors import MalformedFile

_FEATURE_KINDS = {"Image": ColumnKind.IMAGE, "Audio": ColumnKind.AUDIO}
_MEDIA_FIELDS = {"bytes", "path"}


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """The columns of a Parquet or Arrow file; image and audio columns by the features `datasets` notes in it.

    Raises:
        MalformedFile: the database could not keep the name of one.
    """
    features = _features(schema)
    for field in schema:
        if "\0" in str(field):
            raise MalformedFile(
                f"The column {field.name!r} or a field in it has a NUL character in its name",
                next_step="Give it another name and bring the file in again",
            )
    return tuple(Column(field.name, str(field.type), _kind(field.type, features.get(field.name))) for field in schema)


def _features(schema: pa.Schema) -> dict[str, Any]:
    noted = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(noted)["info"]["features"] if noted else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _kind(type_: pa.DataType, feature: Any) -> ColumnKind:
    if isinstance(feature, dict) and feature.get("_type") in _FEATURE_KINDS:
        return _FEATURE_KINDS[feature["_type"]]
    for matches, kind in _KINDS:
        if matches(type_):
            return kind
    return ColumnKind.OTHER


def is_text(type_: pa.DataType) -> bool:
    """Whether a column of this type holds text, dictionary-encoded or not."""
    if pa.types.is_dictionary(type_):
        return is_text(type_.value_type)
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def is_media_struct(type_: pa.DataType) -> bool:
    """Whether a column of this type holds files as `datasets` stores them: bytes and a path."""
    return pa.types.is_struct(type_) and {field.name for field in type_} == _MEDIA_FIELDS


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_))


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def is_binary(type_: pa.DataType) -> bool:
    """Whether a column of this type holds bytes."""
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_))


_KINDS = (
    (is_text, ColumnKind.TEXT),
    (pa.types.is_boolean, ColumnKind.BOOLEAN),
    (_is_number, ColumnKind.NUMBER),
    (pa.types.is_temporal, ColumnKind.TIME),
    (_is_list, ColumnKind.LIST),
    (pa.types.is_struct, ColumnKind.STRUCT),
    (is_binary, ColumnKind.BINARY),
)

"""What the tokenizer process answers: it keeps the tokenizers that were used last, and is asked for little at a time.

A function here is a handler in the sense of `mistudio_jobs.child`: it gets a payload and answers JSON-ready values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.data.texts.chat_texts import ChatTexts
from mistudio_datasets.data.texts.outcomes import preparer_of
from mistudio_datasets.data.texts.rows import few_rows
from mistudio_datasets.data.texts.texts import Prepared, Preparer
from mistudio_datasets.data.tokens.engines import OwnEngine
from mistudio_datasets.data.tokens.tokenizers import ModelTokenizer, load_tokenizer
from mistudio_datasets.domain.previews import Preview, PreviewedRow, PreviewInput
from mistudio_servicekit.errors import DatasetNotFound, ModelNotFound, NotFound

SHOWN_CHARACTERS = 10_000
ANSWER_TOKENS = 200_000
"""Most tokens in one answer: with their texts they stay well under a message's 16 MiB."""

_KEPT_TOKENIZERS = 4


def encode(payload: Mapping[str, Any], _context: object) -> Mapping[str, Any]:
    """The `ids` of `text`, without special tokens, of the model in `model_folder`.

    Raises:
        ModelNotFound: the folder is gone.
        TokenizerMissing, TokenizerInvalid: it holds no usable tokenizer.
    """
    tokenizer = _tokenizer(Path(payload["model_folder"]))
    return {"ids": tokenizer.backend.encode(payload["text"], add_special_tokens=False).ids}


def preview(payload: Mapping[str, Any], _context: object) -> Mapping[str, Any]:
    """The `Preview` of a `PreviewInput`, both as JSON. Rows show fewer tokens than asked for where all are too many.

    Raises:
        DatasetNotFound, ModelNotFound: a folder is gone.
        TokenizerMissing, TokenizerInvalid, ChatTemplateMissing: the model cannot be used for it.
        MalformedFile: a Parquet file is broken.
    """
    wanted = PreviewInput.from_json(payload)
    tokenizer = _tokenizer(wanted.model_folder)
    preparer = preparer_of(wanted.settings, tokenizer)
    template = preparer.template.source if isinstance(preparer, ChatTexts) else ""
    return Preview(tuple(_rows(wanted, preparer, tokenizer)), template).to_json()


def _tokenizer(folder: Path) -> ModelTokenizer:
    return _kept_tokenizer(_existing(folder, ModelNotFound))


@lru_cache(maxsize=_KEPT_TOKENIZERS)
def _kept_tokenizer(folder: Path) -> ModelTokenizer:
    """The files of a complete model never change."""
    return load_tokenizer(folder)


def _existing(folder: Path, missing: type[NotFound]) -> Path:
    """`folder`, an epoch of a resource that may have been deleted since it was asked for."""
    if not folder.is_dir():
        raise missing.of(folder.parent.name)
    return folder


def _rows(wanted: PreviewInput, preparer: Preparer, tokenizer: ModelTokenizer) -> Iterator[PreviewedRow]:
    folder = _existing(wanted.dataset_folder, DatasetNotFound)
    split = read_layout(folder).split(wanted.settings.split)
    first, left = wanted.offset, ANSWER_TOKENS
    for batch in few_rows(folder, split, preparer.columns, wanted.offset, wanted.rows):
        prepared = preparer.prepare(batch)
        documents = _encoded(prepared.texts, tokenizer)
        for at, (values, ids) in enumerate(zip(batch.to_pylist(), documents, strict=True)):
            shown = ids[: min(wanted.max_tokens, left)]
            left -= len(shown)
            yield _previewed(first + at, _original(values), prepared, at, shown, tokenizer.pieces_of(shown), len(ids))
        first += len(batch)


def _encoded(texts: pa.StringArray, tokenizer: ModelTokenizer) -> list[list[int]]:
    encoded = OwnEngine(tokenizer).encode(texts)
    bounds = [0, *np.cumsum(encoded.lengths).tolist()]
    return [encoded.ids[start:end].tolist() for start, end in pairwise(bounds)]


def _previewed(
    row: int, original: str, prepared: Prepared, at: int, ids: Sequence[int], pieces: Sequence[str], total: int
) -> PreviewedRow:
    return PreviewedRow(
        row=row,
        original_text=original[:SHOWN_CHARACTERS],
        text=str(prepared.texts[at])[:SHOWN_CHARACTERS],
        token_ids=tuple(ids),
        tokens=tuple(pieces),
        total_tokens=total,
        changed_by=tuple(effect.step for effect in prepared.effects if at in effect.changed),
        problem=next((reason for reason, rows in prepared.problems.items() if at in rows), ""),
    )


def _original(values: Mapping[str, Any]) -> str:
    """A row as it is in the dataset: one column's text, or else JSON."""
    (value, *others) = values.values()
    if not others and (value is None or isinstance(value, str)):
        return value or ""
    return json.dumps(values if others else value, ensure_ascii=False, default=str)

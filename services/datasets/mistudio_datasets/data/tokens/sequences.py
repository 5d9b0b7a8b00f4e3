"""Tokenized documents and the sequences of views, ready to be shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mistudio_datasets.data.tokens.shards import pieces_at
from mistudio_datasets.data.tokens.token_files import Ids, TokenFiles
from mistudio_datasets.data.views.views import OpenView
from mistudio_datasets.domain.views import Span


@dataclass(frozen=True)
class TokenSequence:
    """A tokenized document, or a sequence of a view.

    Attributes:
        document: number of the document, from 0; the row of the split. Of a view, the first in the sequence.
        token_ids: its ids, cut at the asked length.
        tokens: the text of each.
        total_tokens: its whole length.
        sequence: number of the sequence in its view, from 0; 0 without a view.
        spans: the documents in the sequence; empty without a view.
    """

    document: int
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    total_tokens: int
    sequence: int = 0
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True)
class _Found:
    """A sequence whose tokens have no text yet."""

    document: int
    ids: Ids
    sequence: int = 0
    spans: tuple[Span, ...] = ()


def read_documents(folder: Path, offset: int, limit: int, max_tokens: int, token_budget: int) -> list[TokenSequence]:
    """Up to `limit` documents of the tokenization in `folder` from document `offset` on.

    Ids and texts are cut after `max_tokens`; `total_tokens` tells the whole length. The answer stays within
    `token_budget` ids, and holds at least one document when there is one. The model is not needed.
    """
    return _shown(folder, islice(_documents(TokenFiles(folder), offset), limit), max_tokens, token_budget)


def read_sequences(
    folder: Path, view: OpenView, offset: int, limit: int, max_tokens: int, token_budget: int
) -> list[TokenSequence]:
    """Up to `limit` sequences of a view of the tokenization in `folder` from sequence `offset` on, cut as documents
    are; their spans, which count as ids do, are cut at `token_budget`.
    """
    numbers = range(offset, min(offset + limit, view.sequences))
    found = (_found(number, view, token_budget) for number in numbers)
    return _shown(folder, found, max_tokens, token_budget)


def _documents(files: TokenFiles, offset: int) -> Iterator[_Found]:
    if offset >= files.documents:
        return
    for batch in files.batches(files.batch_of_document(offset)):
        for at in range(max(0, offset - batch.first_document), len(batch)):
            yield _Found(batch.first_document + at, batch.ids[batch.offsets[at] : batch.offsets[at + 1]])


def _found(number: int, view: OpenView, most_spans: int) -> _Found:
    sequence = view.sequence(number)
    document = sequence.spans[0].document if sequence.spans else 0
    return _Found(document, sequence.ids, number, sequence.spans[:most_spans])


def _shown(folder: Path, found: Iterator[_Found], max_tokens: int, token_budget: int) -> list[TokenSequence]:
    kept: list[_Found] = []
    for each in found:
        token_budget -= min(len(each.ids), max_tokens) + len(each.spans)
        if kept and token_budget < 0:
            break
        kept.append(each)
    ids = [each.ids[:max_tokens] for each in kept]
    pieces = iter(pieces_at(folder, np.concatenate([np.empty(0, np.int32), *ids])))
    return [
        TokenSequence(
            each.document,
            tuple(shown.tolist()),
            tuple(islice(pieces, len(shown))),
            len(each.ids),
            each.sequence,
            each.spans,
        )
        for each, shown in zip(kept, ids, strict=True)
    ]

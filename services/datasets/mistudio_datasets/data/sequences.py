"""Reading tokenized documents back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mistudio_datasets.data.shards import batches_of, pieces_of


@dataclass(frozen=True)
class TokenizedDocument:
    """A document: its number from 0 (the row of the split), its ids and their texts, and its whole length."""

    document: int
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    total_tokens: int


def read_documents(
    folder: Path, offset: int, limit: int, max_tokens: int, token_budget: int
) -> list[TokenizedDocument]:
    """Up to `limit` documents of the tokenization in `folder` from document `offset` on.

    Ids and texts are cut after `max_tokens`; `total_tokens` tells the whole length. The answer stays within
    `token_budget` ids, and holds at least one document when there is one. The model is not needed.
    """
    pieces = pieces_of(folder)
    found: list[TokenizedDocument] = []
    first = 0
    for documents in batches_of(folder):
        start, end = max(offset - first, 0), min(offset + limit - first, len(documents))
        for at in range(start, end):
            ids = documents[at].values
            shown = tuple(ids.slice(0, max_tokens).to_pylist())
            token_budget -= len(shown)
            if found and token_budget < 0:
                return found
            found.append(TokenizedDocument(first + at, shown, tuple(pieces[id_] for id_ in shown), len(ids)))
        first += len(documents)
        if first >= offset + limit:
            break
    return found

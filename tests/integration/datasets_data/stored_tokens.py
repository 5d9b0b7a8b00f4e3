"""Small tokenizations on disk, written as a job writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mistudio_datasets.data.tokens.manifest import MANIFEST_FILE
from mistudio_datasets.data.tokens.shards import ShardWriter, write_pieces
from mistudio_datasets.data.tokens.token_files import COUNTS_FILE

BOS, EOS = 1, 2


def store_tokens(
    folder: Path,
    documents: Sequence[Sequence[int]],
    *,
    vocabulary: int = 50,
    batch: int = 3,
    shard_bytes: int = 1500,
    special: dict[str, int | None] | None = None,
) -> Path:
    """Write `documents`, `batch` of them in an Arrow batch, as a tokenization with these special tokens."""
    writer = ShardWriter(folder, "train", shard_bytes)
    for first in range(0, len(documents), batch):
        part = documents[first : first + batch]
        ids = np.array([id_ for document in part for id_ in document], np.int32)
        writer.write(ids, np.array([len(document) for document in part], np.int64))
    writer.finish()
    write_pieces(folder, [f"<{id_}>" for id_ in range(vocabulary)])
    flat = np.array([id_ for document in documents for id_ in document], np.int64)
    np.save(folder / COUNTS_FILE, np.bincount(flat, minlength=vocabulary))
    known = {"bos": BOS, "eos": EOS, "pad": None} if special is None else special
    tokens = {name: None if id_ is None else {"id": id_, "token": f"<{id_}>"} for name, id_ in known.items()}
    (folder / MANIFEST_FILE).write_text(json.dumps({"tokenizer": {"special_tokens": tokens}}))
    return folder


SOURCE = {
    "dataset": {"commit": "c0ffee", "config": "default"},
    "settings": {"split": "train", "text_column": "text"},
    "engine": {"name": "tokenizers", "version": "1"},
    "counts": {"documents": 3, "null_documents": 0, "tokens": 15},
}
"""What the manifest says beside the tokenizer, see `store_tokens_with_source`."""


def store_tokens_with_source(folder: Path, documents: Sequence[Sequence[int]], **how: Any) -> Path:
    """`store_tokens`, with a manifest that tells where the tokens come from."""
    path = store_tokens(folder, documents, **how) / MANIFEST_FILE
    manifest = json.loads(path.read_text()) | SOURCE
    manifest["tokenizer"]["repo_id"] = "tiny/model"
    path.write_text(json.dumps(manifest))
    return folder

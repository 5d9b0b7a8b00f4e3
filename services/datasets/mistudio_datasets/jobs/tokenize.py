"""Tokenizes a dataset's text or conversations with a model's own tokenizer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.data.tokens.tokenizers import load_tokenizer
from mistudio_datasets.data.tokens.tokenizing import TokenizeInput, tokenize
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_datasets.jobs.bringing import monitor_of
from mistudio_jobs.handler import JobContext
from mistudio_servicekit.errors import DatasetNotFound, ModelNotFound, NotFound
from mistudio_servicekit.storage import Area


def run(payload: Mapping[str, Any], context: JobContext) -> Mapping[str, Any]:
    """Write the token ids of what the settings in `tokenization` name, of one dataset, for one model."""
    dataset = _files(context, Area.DATASETS, payload["dataset_id"], payload["dataset_epoch"], DatasetNotFound)
    model = _files(context, Area.MODELS, payload["model_id"], payload["model_epoch"], ModelNotFound)
    context.check()
    what = TokenizeInput(
        folder=dataset,
        layout=read_layout(dataset),
        commit=payload["dataset_commit"],
        settings=TokenizationSettings.from_json(payload["tokenization"]),
        tokenizer=load_tokenizer(model),
        model_repo_id=payload.get("model_repo_id", ""),
        threads=len(os.sched_getaffinity(0)),
    )
    result = tokenize(what, context.folder, monitor_of(context))
    return {
        "documents": result.statistics.documents,
        "null_documents": result.null_documents,
        "empty_because": dict(result.empty_because),
        "tokens": result.statistics.tokens,
        "engine": result.engine,
        "tokenizer_sha256": result.tokenizer_sha256,
        "size_bytes": result.size_bytes,
    }


def _files(context: JobContext, area: Area, resource_id: str, epoch: int, missing: type[NotFound]) -> Path:
    """The folder of a resource, which may have been deleted since the job was submitted."""
    folder = context.store.epoch(area, UUID(resource_id), epoch)
    if not folder.is_dir():
        raise missing.of(resource_id)
    return folder

"""What a researcher finds on the mirror: a dataset of two splits with text, numbers and conversations, and chat models.

Beside it the few steps that tests of a research session share.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from mistudio.datasets.v1 import (
    dataset_pb2,
    datasets_service_pb2,
    exports_service_pb2,
    sample_pb2,
    tokenization_pb2,
    tokenizations_service_pb2,
    view_pb2,
)
from tests.chat_models import CHATML, ENDLESS, chat_tokenizer, write_chat_model
from tests.e2e.support import Product
from tests.tokenizer_families import english_paragraphs

DATASET = "tests/research"
CHAT_MODEL = "tests/chat"
ENDLESS_MODEL = "tests/endless"
TRAIN_ROWS, TEST_ROWS = 2000, 200
WIDE_ROWS, WIDE_COLUMNS = 100_000, 16
HUGE_ROW = 3
HUGE_PAGE = "ä针x — a page of a scanned book\n" * 150_000
"""Several MiB of text in one cell of the column `page`."""

PACKED = view_pb2.View(mode=view_pb2.VIEW_MODE_PACKED, context_length=64)


_MESSAGE: list[pa.Field[Any]] = [pa.field("role", pa.string()), pa.field("content", pa.string())]
_COLUMNS: list[pa.Field[Any]] = [
    pa.field("text", pa.string()),
    pa.field("n", pa.int64()),
    pa.field("score", pa.float64()),
    pa.field("messages", pa.list_(pa.struct(_MESSAGE))),
    pa.field("page", pa.string()),
]


@cache
def tokenizer() -> Tokenizer:
    """The tokenizer of the chat models."""
    return chat_tokenizer(english_paragraphs()[:500])


def rows(split: str) -> pa.Table:
    """The rows of a split: text, whole and other numbers, conversations, and a page that is mostly not there."""
    count = TRAIN_ROWS if split == "train" else TEST_ROWS
    texts = english_paragraphs()[:count]
    return pa.table(
        {
            "text": texts,
            "n": list(range(count)),
            "score": [None if n % 10 == 0 else n / 8 for n in range(count)],
            "messages": [_talk(text) for text in texts],
            "page": [HUGE_PAGE if n == HUGE_ROW and split == "train" else None for n in range(count)],
        },
        schema=pa.schema(_COLUMNS),
    )


def _talk(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Explain."}, {"role": "assistant", "content": text}]


def rendered(messages: Sequence[dict[str, str]]) -> str:
    """A conversation as the template of the chat model writes it, behind the BOS of its tokenizer."""
    return "<s>" + "".join(f"<|im_start|>{said['role']}\n{said['content']}<|im_end|>\n" for said in messages)


def write_research(root: Path) -> None:
    """Put the dataset and the chat models below a mirror's root."""
    folder = root / "datasets" / DATASET
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        pq.write_table(rows(split), folder / f"{split}.parquet", row_group_size=500, compression="zstd")
    for model, template in ((CHAT_MODEL, CHATML), (ENDLESS_MODEL, ENDLESS)):
        files = write_chat_model(root / "models" / model, tokenizer(), template)
        (files / "config.json").write_text('{"model_type": "gpt2"}')
        save_file({"embeddings": np.zeros((8, 8), np.float32)}, files / "model.safetensors")


def wide_parquet() -> bytes:
    """Many columns of numbers, whose statistics take seconds."""
    noise = np.random.default_rng(7).random((WIDE_COLUMNS, WIDE_ROWS))
    table = pa.table({f"feature_{number}": column for number, column in enumerate(noise)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, use_dictionary=False)
    return buffer.getvalue()


async def found(
    product: Product, dataset_id: str, query: dict[str, Any], **fields: Any
) -> datasets_service_pb2.ListSamplesResponse:
    """The first page of the rows that a query finds."""
    request = datasets_service_pb2.ListSamplesRequest(
        dataset_id=dataset_id, query=sample_pb2.SampleQuery(**query), **fields
    )
    return await product.datasets.ListSamples(request)


async def tokenized(product: Product, dataset_id: str, model_id: str, **settings: Any) -> tokenization_pb2.Tokenization:
    """A complete tokenization with these settings, made if need be."""
    answer = await start_tokenizing(product, dataset_id, model_id, **settings)
    await product.succeeded(answer.job.id)
    return await product.tokenization(answer.tokenization.id)


async def start_tokenizing(
    product: Product, dataset_id: str, model_id: str, **settings: Any
) -> tokenizations_service_pb2.CreateTokenizationResponse:
    """Start to tokenize with these settings."""
    request = tokenizations_service_pb2.CreateTokenizationRequest(
        dataset_id=dataset_id, model_id=model_id, settings=tokenization_pb2.TokenizationSettings(**settings)
    )
    return await product.tokenizations.CreateTokenization(request)


async def sequences(
    product: Product, tokenization_id: str, **fields: Any
) -> tokenizations_service_pb2.ListSequencesResponse:
    """The first page of documents, or of the sequences of a view."""
    request = tokenizations_service_pb2.ListSequencesRequest(tokenization_id=tokenization_id, **fields)
    return await product.tokenizations.ListSequences(request)


async def start_export(
    product: Product, tokenization_id: str, view: view_pb2.View, **fields: Any
) -> exports_service_pb2.CreateExportResponse:
    """Start to write a view."""
    request = exports_service_pb2.CreateExportRequest(tokenization_id=tokenization_id, view=view, **fields)
    return await product.exports.CreateExport(request)


async def statistics(
    product: Product, dataset_id: str, **fields: Any
) -> datasets_service_pb2.GetColumnStatisticsResponse:
    """The column statistics of a split, made if need be."""
    create = datasets_service_pb2.CreateColumnStatisticsRequest(dataset_id=dataset_id)
    await product.succeeded((await product.datasets.CreateColumnStatistics(create)).job.id)
    get = datasets_service_pb2.GetColumnStatisticsRequest(dataset_id=dataset_id, **fields)
    return await product.datasets.GetColumnStatistics(get)


async def fresh_dataset(product: Product) -> dataset_pb2.Dataset:
    """The dataset of which nothing has been made yet."""
    await product.delete_dataset((await product.ready_dataset(DATASET)).id)
    return await product.ready_dataset(DATASET)


async def uploaded(product: Product, content: bytes) -> dataset_pb2.Dataset:
    """A new dataset of the Parquet file `content`."""
    chunks = (content[at : at + (1 << 20)] for at in range(0, len(content), 1 << 20))
    answer = await product.upload("rows.parquet", chunks)
    await product.succeeded(answer.job.id)
    return await product.dataset(answer.dataset.id)

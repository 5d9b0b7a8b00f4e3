"""Tokenized documents, from any document on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

from mistudio_datasets.data.sequences import TokenizedDocument, read_documents
from mistudio_datasets.service import tokenizations
from mistudio_datasets.service.samples import check_offset
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.errors import InvalidArgument
from mistudio_servicekit.pagination import Page, PageRequest, encode_token, offset_token
from mistudio_servicekit.storage import Area

DEFAULT_DOCUMENTS = 20
MOST_DOCUMENTS = 500
DEFAULT_TOKENS = 1000
MOST_TOKENS = 100_000
ANSWER_TOKENS = 200_000
"""Most tokens in one answer: with their texts they stay well under a message's 16 MiB."""


@dataclass(frozen=True)
class SequencesRequest:
    """Documents to show; see `ListSequencesRequest` for the meaning of each field."""

    tokenization_id: UUID
    offset: int = 0
    page_size: int = 0
    page_token: str = ""
    max_tokens: int = 0


async def list_sequences(tools: Tools, request: SequencesRequest) -> Page[TokenizedDocument]:
    """A page of tokenized documents; it may hold fewer than asked for where they are long.

    Raises:
        TokenizationNotFound, TokenizationNotReady: there are none to show.
        InvalidArgument, InvalidPageToken: page size, offset, token or max_tokens are wrong.
    """
    limit = PageRequest(page_size=request.page_size).size(DEFAULT_DOCUMENTS, MOST_DOCUMENTS)
    most_tokens = _most_tokens(request)
    query = ("sequences", str(request.tokenization_id), most_tokens)
    offset = offset_token(query, request.page_token, check_offset(request.offset))
    tokenization = await tokenizations.get(tools, request.tokenization_id)
    tokenizations.require_complete(tokenization)
    folder = tools.store.epoch(Area.TOKENIZATIONS, tokenization.id, tokenization.epoch)
    try:
        found = await asyncio.to_thread(read_documents, folder, offset, limit, most_tokens, ANSWER_TOKENS)
    except FileNotFoundError:
        # Deleted meanwhile, which this says; if not, the store has lost files.
        await tokenizations.get(tools, request.tokenization_id)
        raise
    next_document = offset + len(found)
    token = encode_token(query, [next_document]) if found and next_document < tokenization.documents else ""
    return Page(found, token, tokenization.documents)


def _most_tokens(request: SequencesRequest) -> int:
    if not 0 <= request.max_tokens <= MOST_TOKENS:
        raise InvalidArgument(
            f"max_tokens is {request.max_tokens}",
            next_step=f"Use 1 to {MOST_TOKENS:,}, or 0 for {DEFAULT_TOKENS:,}",
            field="max_tokens",
        )
    return request.max_tokens or DEFAULT_TOKENS

"""Tokenized documents, or the sequences of a view, from any one on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from mistudio_datasets.data.tokens.sequences import TokenSequence, read_documents, read_sequences
from mistudio_datasets.data.views.views import open_view
from mistudio_datasets.domain.views import View, ViewFigures
from mistudio_datasets.service.sample_requests import check_offset
from mistudio_datasets.service.token_reading import complete, reading
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.errors import InvalidArgument
from mistudio_servicekit.pagination import Page, PageRequest, encode_token, offset_token

DEFAULT_SEQUENCES = 20
MOST_SEQUENCES = 500
DEFAULT_TOKENS = 1000
MOST_TOKENS = 100_000
ANSWER_TOKENS = 200_000
"""Most tokens in one answer: with their texts they stay well under a message's 16 MiB."""


@dataclass(frozen=True)
class SequencesRequest:
    """Documents or sequences to show; see `ListSequencesRequest` for the meaning of each field."""

    tokenization_id: UUID
    offset: int = 0
    page_size: int = 0
    page_token: str = ""
    max_tokens: int = 0
    view: View | None = None


@dataclass(frozen=True)
class SequencesPage:
    """A page of documents or sequences, and what the view keeps and drops; None without a view."""

    page: Page[TokenSequence]
    figures: ViewFigures | None


@dataclass(frozen=True)
class _Window:
    """What to read; see `read_documents`."""

    offset: int
    limit: int
    max_tokens: int


async def list_sequences(tools: Tools, request: SequencesRequest) -> SequencesPage:
    """A page of tokenized documents or of a view's sequences; it may hold fewer than asked for where they are long.

    Raises:
        TokenizationNotFound, TokenizationNotReady: there are none to show.
        InvalidArgument, InvalidPageToken: page size, offset, token, max_tokens or view are wrong.
    """
    limit = PageRequest(page_size=request.page_size).size(DEFAULT_SEQUENCES, MOST_SEQUENCES)
    max_tokens = most_tokens(request.max_tokens)
    view = request.view.digest() if request.view else ""
    query = ("sequences", str(request.tokenization_id), max_tokens, view)
    offset = offset_token(query, request.page_token, check_offset(request.offset))
    if request.view:
        request.view.check()
    tokenization = await complete(tools, request.tokenization_id)
    window = _Window(offset, limit, max_tokens)
    found, figures = await reading(tools, tokenization, lambda folder, check: _read(folder, request.view, window))
    total = figures.sequences if figures else tokenization.documents
    following = offset + len(found)
    token = encode_token(query, [following]) if found and following < total else ""
    return SequencesPage(Page(found, token, total), figures)


def _read(folder: Path, view: View | None, window: _Window) -> tuple[list[TokenSequence], ViewFigures | None]:
    if view is None:
        return read_documents(folder, window.offset, window.limit, window.max_tokens, ANSWER_TOKENS), None
    opened = open_view(folder, view)
    found = read_sequences(folder, opened, window.offset, window.limit, window.max_tokens, ANSWER_TOKENS)
    return found, opened.figures


def most_tokens(max_tokens: int) -> int:
    """The field `max_tokens` of a request: most tokens to show of each row.

    Raises:
        InvalidArgument: it is out of range.
    """
    if not 0 <= max_tokens <= MOST_TOKENS:
        raise InvalidArgument(
            f"max_tokens is {max_tokens}",
            next_step=f"Use 1 to {MOST_TOKENS:,}, or 0 for {DEFAULT_TOKENS:,}",
            field="max_tokens",
        )
    return max_tokens or DEFAULT_TOKENS

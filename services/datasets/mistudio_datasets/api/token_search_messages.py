"""Searches for tokens as messages."""

from __future__ import annotations

from dataclasses import asdict

from mistudio.datasets.v1 import tokenization_pb2
from mistudio.datasets.v1 import tokenizations_service_pb2 as pb
from mistudio_datasets.data.tokens.token_search import TokenMatch
from mistudio_datasets.service.token_search import TokenSearchPage, TokenSearchRequest
from mistudio_servicekit.requests import parse_id


def token_search_of(message: pb.SearchTokensRequest) -> TokenSearchRequest:
    """The search that a client asks for.

    Raises:
        MissingField, MalformedId: it does not say which tokenization.
    """
    query = message.WhichOneof("query")
    return TokenSearchRequest(
        tokenization_id=parse_id("tokenization_id", message.tokenization_id),
        ids=tuple(message.ids.values) if query == "ids" else None,
        text=message.text if query == "text" else None,
        page_size=message.page_size,
        page_token=message.page_token,
        context_tokens=message.context_tokens if message.HasField("context_tokens") else None,
        include_total=message.include_total,
    )


def token_search_message(page: TokenSearchPage) -> pb.SearchTokensResponse:
    """What was found, as clients see it."""
    return pb.SearchTokensResponse(
        matches=map(_match, page.found.matches),
        next_page_token=page.next_page_token,
        total_size=page.totals.matches if page.totals else 0,
        total_documents=page.totals.documents if page.totals else 0,
        searched_ids=page.searched_ids,
        total_is_known=page.totals is not None,
    )


def _match(match: TokenMatch) -> tokenization_pb2.TokenMatch:
    """Field names are the same."""
    return tokenization_pb2.TokenMatch(**asdict(match))

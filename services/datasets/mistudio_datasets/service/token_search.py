"""Finding token ids, or the tokens of a text, in all documents of a tokenization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from mistudio_datasets.data.tokens.token_files import TokenFiles
from mistudio_datasets.data.tokens.token_search import (
    TokenMatches,
    TokenTotals,
    count_matches,
    find_matches,
    known_totals,
)
from mistudio_datasets.domain.progress import Check
from mistudio_datasets.domain.tokenizations import Tokenization
from mistudio_datasets.service.settings import require_tokenizer
from mistudio_datasets.service.token_reading import complete, reading
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.errors import InvalidArgument, MissingField, ModelNotFound
from mistudio_servicekit.pagination import PageRequest, encode_token, offset_token
from mistudio_servicekit.requests import check_length
from mistudio_servicekit.storage import Area

DEFAULT_MATCHES = 20
MOST_MATCHES = 500
MOST_IDS = 256
MOST_CHARACTERS = 10_000
DEFAULT_CONTEXT = 10
MOST_CONTEXT = 100


@dataclass(frozen=True)
class TokenSearchRequest:
    """What to search for; see `SearchTokensRequest` for the meaning of each field. Of `ids` and `text` one is None."""

    tokenization_id: UUID
    ids: tuple[int, ...] | None = None
    text: str | None = None
    page_size: int = 0
    page_token: str = ""
    context_tokens: int | None = None
    include_total: bool = False

    def check(self) -> None:
        """Raise `InvalidArgument` unless the fields can be right."""
        if self.ids is None and self.text is None:
            raise MissingField.of("ids", "{values: [464, 3290]}")
        if self.text is not None:
            check_length("text", self.text, MOST_CHARACTERS)
            if not self.text:
                raise MissingField.of("text", "the dog")
        if self.ids is not None and not 1 <= len(self.ids) <= MOST_IDS:
            raise InvalidArgument(
                f"ids.values has {len(self.ids)} ids", next_step=f"Give 1 to {MOST_IDS}", field="ids.values"
            )
        if not 0 <= self.context <= MOST_CONTEXT:
            raise InvalidArgument(
                f"context_tokens is {self.context}",
                next_step=f"Use 0 to {MOST_CONTEXT}, or leave it out for {DEFAULT_CONTEXT}",
                field="context_tokens",
            )

    @property
    def context(self) -> int:
        """Tokens to show on each side of a match."""
        return DEFAULT_CONTEXT if self.context_tokens is None else self.context_tokens


@dataclass(frozen=True)
class TokenSearchPage:
    """What was found; `totals` is None unless matches have been counted."""

    found: TokenMatches
    next_page_token: str
    totals: TokenTotals | None
    searched_ids: tuple[int, ...]


async def search_tokens(tools: Tools, request: TokenSearchRequest) -> TokenSearchPage:
    """A page of places where the ids follow one another within a document, in the order of documents.

    Matches may overlap. Given up when the call is cancelled.

    Raises:
        TokenizationNotFound, TokenizationNotReady: there is nothing to search.
        InvalidArgument, InvalidPageToken: a field of the request is wrong.
        ModelNotFound, ModelNotReady, TokenizerMissing, TokenizerInvalid: the model cannot tell the ids of the text.
        TimedOut, OutOfMemory: the text is too much for it.
        Unavailable: the models service cannot be reached, or the tokenizer was lost.
    """
    request.check()
    limit = PageRequest(page_size=request.page_size).size(DEFAULT_MATCHES, MOST_MATCHES)
    tokenization = await complete(tools, request.tokenization_id)
    ids = request.ids if request.ids is not None else await _ids_of_text(tools, tokenization, request.text or "")
    query = ("token-search", str(tokenization.id), ids, request.context)
    first = offset_token(query, request.page_token, 0)

    def read(folder: Path, check: Check) -> tuple[TokenMatches, TokenTotals | None]:
        _check_ids(folder, ids)
        found = find_matches(folder, ids, first, limit, request.context, check)
        return found, count_matches(folder, ids, check) if request.include_total else known_totals(folder, ids)

    found, totals = await reading(tools, tokenization, read)
    token = "" if found.next_token is None else encode_token(query, [found.next_token])
    return TokenSearchPage(found, token, totals, ids)


def _check_ids(folder: Path, ids: Sequence[int]) -> None:
    vocabulary = TokenFiles(folder).id_count
    for at, id_ in enumerate(ids):
        if not 0 <= id_ < vocabulary:
            raise InvalidArgument(
                f"ids.values[{at}] is {id_}, which the model's vocabulary does not have",
                next_step=f"Use ids from 0 to {vocabulary - 1:,}",
                field=f"ids.values[{at}]",
            )


async def _ids_of_text(tools: Tools, tokenization: Tokenization, text: str) -> tuple[int, ...]:
    """The ids of the text, as the model's tokenizer splits it on its own."""
    try:
        model = await tools.models.get(tokenization.model_id)
        require_tokenizer(model)
        ids = tuple(await tools.tokenizers.encode(tools.store.epoch(Area.MODELS, model.id, model.epoch), text))
    except ModelNotFound as error:
        raise ModelNotFound(
            f"The model {tokenization.model_id} of this tokenization is gone, and its tokenizer with it",
            next_step="Search for ids instead of text",
            metadata={"id": str(tokenization.model_id)},
        ) from error
    if not 1 <= len(ids) <= MOST_IDS:
        raise InvalidArgument(
            f"text has {len(ids)} tokens", next_step=f"Give a text of 1 to {MOST_IDS} tokens", field="text"
        )
    return ids

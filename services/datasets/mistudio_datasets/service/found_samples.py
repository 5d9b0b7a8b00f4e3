"""Rows of a dataset that a query finds: in row order, or best first for words."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import numpy as np

from mistudio_datasets.data.browsing.parquet_footer_cache import cached_footer
from mistudio_datasets.data.browsing.query_conditions import filter_condition
from mistudio_datasets.data.browsing.query_engine import Stop
from mistudio_datasets.data.browsing.query_scan import Found, Mask, Scan
from mistudio_datasets.data.browsing.query_search import TextSearch, text_search, word_search
from mistudio_datasets.data.browsing.samples import SampleRow, read_samples
from mistudio_datasets.data.ranking.words import phrases_of
from mistudio_datasets.data.tokens.token_files import TokenFiles
from mistudio_datasets.domain.datasets import SplitInfo
from mistudio_datasets.domain.sample_queries import TokenLength
from mistudio_datasets.service import tokenizations, words
from mistudio_datasets.service.sample_requests import (
    ANSWER_BYTES,
    Place,
    SamplesAnswer,
    SamplesRequest,
    check_offset,
    page_rows,
    reading,
)
from mistudio_datasets.service.token_reading import reading as reading_tokens
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.errors import InvalidArgument
from mistudio_servicekit.pagination import decode_token, encode_token, offset_token, token_error
from mistudio_servicekit.storage import confined


async def find_samples(tools: Tools, request: SamplesRequest) -> SamplesAnswer:
    """A page of the rows that the request's query finds, kept under 2 MiB.

    Raises:
        DatasetNotFound, DatasetNotReady, SplitNotFound, ColumnNotFound: there are no such rows to search in.
        TokenizationNotFound, TokenizationNotReady: the query names a tokenization without files.
        InvalidArgument, InvalidFilter, InvalidSearch, InvalidPageToken: the request cannot be meant.
        MalformedFile: the dataset's file is broken.
        TimedOut, OutOfMemory: the search is too much.
    """
    request.query.check()
    limit = page_rows(request)

    async def read(place: Place) -> SamplesAnswer:
        search = _Search(tools, request, place, place.layout.split(request.split), limit)
        mask = await search.token_length_mask()
        return await (search.ranked(mask) if request.query.words else search.in_order(mask))

    return await reading(tools, request.dataset_id, read)


@dataclass(frozen=True)
class _Search:
    tools: Tools
    request: SamplesRequest
    place: Place
    split: SplitInfo
    limit: int

    async def in_order(self, mask: Mask | None) -> SamplesAnswer:
        """A page in row order; the token tells the next row, and how many matches lie before it."""
        start, before, skip = self._position()
        query = (str(self.place.folder), self.split.name, self.request.query)
        total = self.tools.scans.known_count(query)
        count_all = self.request.include_total and total is None
        found, rows = await self.tools.scans.run(lambda stop: self._page(mask, start, skip, count_all, stop))
        if found.total is not None:
            total = found.total
            self.tools.scans.remember_count(query, total)
        return SamplesAnswer(rows, self._next_token(found, rows, before + skip, total), total)

    def _page(
        self, mask: Mask | None, start: int, skip: int, count_all: bool, stop: Stop
    ) -> tuple[Found, tuple[SampleRow, ...]]:
        search = text_search(self.request.query, self.place.layout, self.tools.scans.engine)
        found = self._scan(search, mask).find(start, skip, self.limit, count_all, stop)
        return found, self._samples(found.rows, search)

    def _position(self) -> tuple[int, int, int]:
        """First row, matches before it, and matches to pass over from it on."""
        skip = check_offset(self.request.offset)
        if not self.request.page_token:
            return 0, 0, skip
        position = decode_token(self.request.page_token, self.request.identity)
        if len(position) != 2 or not all(isinstance(number, int) and number >= 0 for number in position):
            raise token_error(self.request.page_token, "is damaged")
        return position[0], position[1], 0

    def _next_token(self, found: Found, rows: tuple[SampleRow, ...], before: int, total: int | None) -> str:
        shown = before + len(rows)
        is_cut = len(rows) < len(found.rows)
        is_last = len(found.rows) < self.limit or shown == total
        if not rows or (is_last and not is_cut) or rows[-1].row + 1 == self.split.rows:
            return ""
        return encode_token(self.request.identity, [rows[-1].row + 1, shown])

    async def ranked(self, mask: Mask | None) -> SamplesAnswer:
        """A page of the rows that hold words, best first."""
        request, place = self.request, self.place
        offset = offset_token(request.identity, request.page_token, check_offset(request.offset))
        keep = await self.tools.scans.run(lambda stop: self._matching(mask, stop)) if request.query.filter else mask
        found = await words.ranked_rows(
            self.tools,
            place.dataset,
            place.folder,
            place.layout,
            self.split.name,
            request.query.words,
            request.query.search_columns,
            keep,
            offset,
            self.limit,
        )
        shown_words = word_search(phrases_of(request.query.words), place.layout, request.query.search_columns)
        rows = await self.tools.scans.run(lambda stop: self._samples(found.rows, shown_words, found.scores))
        shown = offset + len(rows)
        token = encode_token(request.identity, [shown]) if rows and shown < found.total else ""
        return SamplesAnswer(rows, token, found.total, found.ranking, found.job_id)

    def _matching(self, mask: Mask | None, stop: Stop) -> Mask:
        return self._scan(None, mask).matching(stop)

    def _samples(
        self, rows: tuple[int, ...], search: TextSearch | None, scores: tuple[float, ...] = ()
    ) -> tuple[SampleRow, ...]:
        engine, place = self.tools.scans.engine, self.place
        return read_samples(
            engine, place.folder, place.layout, self.split, rows, ANSWER_BYTES, search=search, scores=scores
        )

    def _scan(self, search: TextSearch | None, mask: Mask | None) -> Scan:
        first = self.split.files[0]
        schema = cached_footer(confined(self.place.folder, first), first).schema
        conditions = [filter_condition(self.request.query.filter, schema)]
        if search:
            conditions.append(search.condition(schema.names))
        wanted = [condition for condition in conditions if condition]
        return Scan(self.tools.scans.engine, self.place.folder, self.split, schema.names, wanted, mask)

    async def token_length_mask(self) -> Mask | None:
        """Which rows have a length that the query asks for; None if it does not."""
        wanted = self.request.query.token_length
        if wanted is None:
            return None
        tokenization = await tokenizations.get(self.tools, wanted.tokenization_id)
        if (tokenization.dataset_id, tokenization.settings.split) != (self.place.dataset.id, self.split.name):
            raise _other_rows(wanted.tokenization_id, tokenization.dataset_id, tokenization.settings.split)
        tokenizations.require_complete(tokenization)
        return await reading_tokens(self.tools, tokenization, lambda folder, check: _mask(TokenFiles(folder), wanted))


def _mask(files: TokenFiles, wanted: TokenLength) -> Mask:
    lengths = np.concatenate([batch.lengths() for batch in files.batches()] or [np.zeros(0, np.int64)])
    mask: Mask = lengths >= wanted.min_tokens
    return mask & (lengths <= wanted.max_tokens) if wanted.max_tokens else mask


def _other_rows(tokenization_id: UUID, dataset_id: UUID, split: str) -> InvalidArgument:
    return InvalidArgument(
        f"Tokenization {tokenization_id} is of the split {split!r} of dataset {dataset_id}, whose rows these are not",
        next_step="Name a tokenization of the same dataset and split",
        field="query.token_length.tokenization_id",
    )

"""Finding token ids that follow one another, at the speed of memory; never across the end of a document."""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from mistudio_datasets.data.tokens.shards import pieces_at
from mistudio_datasets.data.tokens.token_files import Ids, Ints, TokenBatch, TokenFiles
from mistudio_datasets.domain.progress import Check

_BATCHES_AHEAD = 4
_TOTALS_KEPT = 4096


@dataclass(frozen=True)
class TokenMatch:
    """A place where the ids were found.

    Attributes:
        document: number of the document, from 0.
        position: first matching token in the document, from 0.
        token_ids: the match with the tokens around it, all of the same document.
        tokens: the text of each.
        match_start: first matching token among `token_ids`.
        match_end: first token after the match among `token_ids`.
    """

    document: int
    position: int
    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    match_start: int
    match_end: int


@dataclass(frozen=True)
class TokenMatches:
    """Some matches in order; `next_token` is where to go on, None after the last match."""

    matches: tuple[TokenMatch, ...]
    next_token: int | None


@dataclass(frozen=True)
class TokenTotals:
    """Matches in all, and documents that have one."""

    matches: int
    documents: int


@dataclass(frozen=True)
class _Place:
    """A match: its first token among all stored ones and among the ids of its batch, and its document there."""

    token: int
    at: int
    document: int
    batch: TokenBatch


def find_matches(
    folder: Path, query: tuple[int, ...], first_token: int, limit: int, context: int, check: Check
) -> TokenMatches:
    """The first `limit` matches that begin at stored token `first_token` of the tokenization in `folder` or behind.

    Matches may overlap: 1 1 is found twice in 1 1 1. `context` tokens are shown on each side, where the document has
    them. `check` is called often, and stops the search by raising.
    """
    files = TokenFiles(folder)
    found: list[_Place] = []
    for batch, places in _search(files, query, files.batch_of_token(first_token), check):
        at = places[places >= first_token - batch.first_token][: limit + 1 - len(found)]
        documents = np.searchsorted(batch.offsets, at, side="right") - 1
        pairs = zip(at.tolist(), documents.tolist(), strict=True)
        found += [_Place(batch.first_token + place, place, document, batch) for place, document in pairs]
        if len(found) > limit:
            break
    next_token = found[limit].token if len(found) > limit else None
    return TokenMatches(_shown(folder, found[:limit], len(query), context), next_token)


def count_matches(folder: Path, query: tuple[int, ...], check: Check) -> TokenTotals:
    """All matches, counted; the figures are kept for the next time. `check` as for `find_matches`."""
    if known := known_totals(folder, query):
        return known
    matches, documents = 0, 0
    for batch, places in _search(TokenFiles(folder), query, 0, check):
        matches += len(places)
        documents += len(np.unique(np.searchsorted(batch.offsets, places, side="right")))
    _totals.keep((folder, query), TokenTotals(matches, documents))
    return TokenTotals(matches, documents)


def known_totals(folder: Path, query: tuple[int, ...]) -> TokenTotals | None:
    """The figures, if they were counted before and are still known."""
    return _totals.find((folder, query))


class _Totals:
    """The figures of the latest queries. A complete tokenization never changes, so they stay right."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Path, tuple[int, ...]], TokenTotals] = OrderedDict()
        self._lock = Lock()

    def find(self, key: tuple[Path, tuple[int, ...]]) -> TokenTotals | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: tuple[Path, tuple[int, ...]], totals: TokenTotals) -> None:
        with self._lock:
            self._kept[key] = totals
            if len(self._kept) > _TOTALS_KEPT:
                self._kept.popitem(last=False)


_totals = _Totals()


def _search(
    files: TokenFiles, query: tuple[int, ...], first_batch: int, check: Check
) -> Iterator[tuple[TokenBatch, Ints]]:
    """Every batch that has a match, in order, with the places in its ids where one begins."""
    rarity = [files.occurrences(id_) for id_ in query]
    if min(rarity) == 0:
        return
    ids, rarest = np.array(query, np.int32), int(np.argmin(rarity))

    def search(number: int) -> tuple[TokenBatch, Ints]:
        batch = files.batch(number)
        return batch, _places(batch, ids, rarest)

    for batch, places in _in_order(search, range(first_batch, len(files)), check):
        files.forget_others(batch.number)
        if len(places):
            yield batch, places


def _in_order(
    search: Callable[[int], tuple[TokenBatch, Ints]], numbers: range, check: Check
) -> Iterator[tuple[TokenBatch, Ints]]:
    """What `search` finds for each number, in order, searched by one thread a core."""
    threads = len(os.sched_getaffinity(0))
    waiting: deque[Future[tuple[TokenBatch, Ints]]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="tokens") as pool:
        try:
            for number in numbers:
                waiting.append(pool.submit(search, number))
                if len(waiting) > threads * _BATCHES_AHEAD:
                    check()
                    yield waiting.popleft().result()
            while waiting:
                check()
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _places(batch: TokenBatch, query: Ids, rarest: int) -> Ints:
    """Where in the ids of `batch` the query begins: where its rarest id is, if the others are around it and all of
    them in one document.
    """
    ids = batch.ids
    places = np.flatnonzero(ids == query[rarest]) - rarest
    places = places[(places >= 0) & (places <= len(ids) - len(query))]
    for at, id_ in enumerate(query):
        if not len(places):
            return places
        places = places[ids[places + at] == id_]
    ends = batch.offsets[np.searchsorted(batch.offsets, places, side="right")]
    return places[places + len(query) <= ends]


def _shown(folder: Path, found: list[_Place], length: int, context: int) -> tuple[TokenMatch, ...]:
    begins = [max(int(place.batch.offsets[place.document]), place.at - context) for place in found]
    ends = [min(int(place.batch.offsets[place.document + 1]), place.at + length + context) for place in found]
    ids = [place.batch.ids[begin:end] for place, begin, end in zip(found, begins, ends, strict=True)]
    pieces = iter(pieces_at(folder, np.concatenate([np.empty(0, np.int32), *ids])))
    return tuple(
        TokenMatch(
            document=place.batch.first_document + place.document,
            position=place.at - int(place.batch.offsets[place.document]),
            token_ids=tuple(around.tolist()),
            tokens=tuple(next(pieces) for _ in around),
            match_start=place.at - begin,
            match_end=place.at - begin + length,
        )
        for place, around, begin in zip(found, ids, begins, strict=True)
    )

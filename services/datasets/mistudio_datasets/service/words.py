"""Searches for words: ranked by the word index, or by reading every row until there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import numpy as np
import numpy.typing as npt

from mistudio_datasets.data.ranking.ranked import RankedPage
from mistudio_datasets.data.ranking.word_scan import scan_for_words
from mistudio_datasets.data.ranking.word_texts import text_columns
from mistudio_datasets.data.ranking.words import Phrase, phrases_of
from mistudio_datasets.domain.datasets import Dataset, Layout
from mistudio_datasets.domain.derived import Derived, DerivedKind
from mistudio_datasets.domain.progress import Check
from mistudio_datasets.domain.status import WorkStatus
from mistudio_datasets.service import derived
from mistudio_datasets.service.tools import Tools
from mistudio_servicekit.errors import InvalidSearch
from mistudio_servicekit.storage import Area


class Ranking(StrEnum):
    """How a search for words was ranked; mirrors `mistudio.datasets.v1.Ranking`."""

    INDEX = "INDEX"
    SCAN = "SCAN"


@dataclass(frozen=True)
class RankedRows:
    """A page of the rows that hold words of a search, best first.

    Attributes:
        rows: their numbers in the split, from 0.
        scores: how well each matches; higher is better.
        total: rows that match in all.
        ranking: how they were ranked.
        job_id: the job that builds the word index, where they were ranked without it.
    """

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    total: int
    ranking: Ranking
    job_id: UUID | None


@dataclass(frozen=True)
class _Search:
    """What is looked for, and where; see `ranked_rows`."""

    folder: Path
    layout: Layout
    split: str
    phrases: Sequence[Phrase]
    columns: Sequence[str]
    keep: npt.NDArray[np.bool_] | None
    offset: int
    limit: int


async def ranked_rows(
    tools: Tools,
    dataset: Dataset,
    folder: Path,
    layout: Layout,
    split: str,
    words: str,
    columns: Sequence[str],
    keep: npt.NDArray[np.bool_] | None,
    offset: int,
    limit: int,
) -> RankedRows:
    """The rows that hold words of `words`, best first.

    The first search of a dataset starts to build its word index. Until that is READY every row is read.

    Args:
        tools: what use cases work with.
        dataset: a READY dataset.
        folder: its epoch folder.
        layout: where its rows lie.
        split: name of the split; empty means the only one, or `train`.
        words: words, and phrases in double quotes, of which a row should hold many and rare ones.
        columns: columns to search in; empty means every one that holds text.
        keep: which rows of the split may be found, a flag for each; None for all.
        offset: how many of the best are passed over.
        limit: most rows in the page.

    Raises:
        SplitNotFound, ColumnNotFound: there is none of this name.
        InvalidSearch: there is no word in `words`, or there are too many; or there is no text to search in.
        MalformedFile: the dataset's file is broken.
        TimedOut: reading every row took too long.
        FileNotFoundError: the dataset was deleted meanwhile.
    """
    phrases = phrases_of(words)
    searched = await asyncio.to_thread(text_columns, folder, layout, columns)
    if not searched:
        raise InvalidSearch("No column of the dataset holds text", next_step="Use query.filter", field="query.words")
    search = _Search(folder, layout, layout.split(split).name, phrases, searched, keep, offset, limit)
    index = await _index_of(tools, dataset)
    if index.status is WorkStatus.READY:
        page = await asyncio.to_thread(_by_index, tools, search, index)
        return RankedRows(page.rows, page.scores, page.total, Ranking.INDEX, None)
    page = await tools.scans.run(lambda stop: _by_scan(search, stop.check))
    job_id = None if index.status.ended_badly else index.job_id
    return RankedRows(page.rows, page.scores, page.total, Ranking.SCAN, job_id)


async def _index_of(tools: Tools, dataset: Dataset) -> Derived:
    """The word index of the dataset, started if nobody ever did; one that failed is not tried again by every search."""
    index = await derived.find(tools, dataset.id, DerivedKind.WORD_INDEX)
    if index is None:
        index = (await derived.create(tools, dataset.id, DerivedKind.WORD_INDEX)).resource.derived
    return index


def _by_index(tools: Tools, search: _Search, index: Derived) -> RankedPage:
    opened = tools.indexes.get(tools.store.epoch(Area.DERIVED, index.id, index.epoch), search.split)
    return opened.search(search.phrases, search.columns, search.keep, search.offset, search.limit)


def _by_scan(search: _Search, check: Check) -> RankedPage:
    split = search.layout.split(search.split)
    return scan_for_words(
        search.folder, split, search.phrases, search.columns, search.keep, search.offset, search.limit, check
    )

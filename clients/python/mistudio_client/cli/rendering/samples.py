"""Rows of datasets, with what a search found in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from google.protobuf.json_format import MessageToDict
from rich.text import Text

from mistudio.datasets.v1 import datasets_service_pb2, sample_pb2
from mistudio_client.cli.rendering.formats import number, shortened, visible

Cells = list[str | Text]

MATCH_STYLE = "bold reverse"
_CELL_WIDTH = 100


def samples_table(
    listing: datasets_service_pb2.ListSamplesResponse, columns: Sequence[str]
) -> tuple[list[str], Iterator[Cells], str]:
    """Headers, rows and numeric headers of the table of a page of rows; ranked ones with their scores."""
    ranked = bool(listing.ranking)
    headers = ["row", "score"] if ranked else ["row"]
    rows = (_cells(sample, columns, ranked=ranked) for sample in listing.samples)
    return [*headers, *columns], rows, " ".join(headers)


def samples_remarks(listing: datasets_service_pb2.ListSamplesResponse, *, matching: bool) -> list[str]:
    """What is to be said of a page of rows: how many there are, and how they were ranked."""
    return [remark for remark in (_amount(listing, matching=matching), _ranking(listing)) if remark]


def highlighted(before: str, match: str, after: str) -> Text:
    """A text with a match in it."""
    return Text.assemble(visible(before), (visible(match), MATCH_STYLE), visible(after))


def _cells(sample: datasets_service_pb2.Sample, columns: Sequence[str], *, ranked: bool) -> Cells:
    """A row's number, score and values, each cut to fit a table; where something was found, the text around it."""
    values = MessageToDict(sample.values)
    found = {snippet.column: _snippet(snippet) for snippet in sample.snippets}
    score = [f"{sample.score:.2f}"] if ranked else []
    return [number(sample.row), *score, *(found.get(column) or _value(values.get(column)) for column in columns)]


def _snippet(snippet: sample_pb2.Snippet) -> Text:
    text, start, end = snippet.text, snippet.match_start, snippet.match_end
    return highlighted(text[:start], text[start:end], text[end:])


def _value(value: object) -> str:
    if value is None:
        return ""
    # Sorted, because a message does not keep the order of names.
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return shortened(text, _CELL_WIDTH)


def _amount(listing: datasets_service_pb2.ListSamplesResponse, *, matching: bool) -> str:
    shown, rows = number(len(listing.samples)), "matching rows" if matching else "rows"
    if listing.total_is_known:
        return f"{shown} of {number(listing.total_size)} {rows}"
    return f"{shown} shown; there may be more, which --count counts" if listing.next_page_token else ""


def _ranking(listing: datasets_service_pb2.ListSamplesResponse) -> str:
    if listing.ranking == sample_pb2.RANKING_INDEX:
        return "ranked by the word index"
    if listing.ranking != sample_pb2.RANKING_SCAN:
        return ""
    if job := listing.word_index_job_id:
        return f"ranked by reading every row; the word index is being built: mistudio jobs watch {job}"
    return "ranked by reading every row; `mistudio datasets index` builds the word index anew"

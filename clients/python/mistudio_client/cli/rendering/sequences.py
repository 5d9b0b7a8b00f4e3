"""Views of tokenizations: what they are, what they keep, where searches found tokens in documents."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from mistudio.datasets.v1 import tokenization_pb2, tokenizations_service_pb2, view_pb2
from mistudio_client.cli.choices import SPECIAL_TOKEN_POLICIES, VIEW_MODES, written
from mistudio_client.cli.rendering.formats import number, share
from mistudio_client.cli.rendering.samples import MATCH_STYLE
from mistudio_client.cli.rendering.tokens import pieces, show_sequence

MATCH_COLUMNS = ("document", "position", "before", "match", "after")
MATCH_NUMERIC = "document position before"


def view_words(view: view_pb2.View) -> str:
    """A view in a few words: `packed 1,024, bos document`."""
    parts = [
        f"{written(VIEW_MODES, view.mode)} {number(view.context_length)}",
        f"stride {number(view.stride)}" if view.stride else "",
        f"bos {written(SPECIAL_TOKEN_POLICIES, view.bos)}" if view.bos else "",
        f"eos {written(SPECIAL_TOKEN_POLICIES, view.eos)}" if view.eos else "",
        "first window only" if view.first_window_only else "",
        f"at least {number(view.min_tokens)} tokens" if view.min_tokens else "",
    ]
    return ", ".join(part for part in parts if part)


def view_figures_facts(figures: view_pb2.ViewFigures) -> list[tuple[str, str]]:
    """What a view keeps and drops; what there is none of is left out."""
    dropped = [
        ("behind the first window", figures.truncated_tokens),
        ("in short sequences", figures.short_tokens),
        ("left over at the end", figures.leftover_tokens),
        ("between windows", figures.skipped_tokens),
    ]
    further = [
        ("repeated tokens", figures.repeated_tokens),
        ("special tokens", figures.special_tokens),
        ("padding tokens", figures.padding_tokens),
    ]
    return [
        ("sequences", number(figures.sequences)),
        ("of documents", number(figures.documents)),
        ("tokens", number(figures.tokens)),
        ("kept", _part(figures.kept_tokens, figures.tokens)),
        ("dropped", _part(figures.dropped_tokens, figures.tokens)),
        *((f"  {name}", number(count)) for name, count in dropped if count),
        *((name, number(count)) for name, count in further if count),
        ("utilization", share(figures.utilization, 1)),
    ]


def show_view_sequence(console: Console, sequence: tokenization_pb2.TokenSequence) -> None:
    """Print a sequence of a view: the documents in it, its tokens, separated by bars, and their ids."""
    title = f"sequence {number(sequence.sequence)}, {number(sequence.total_tokens)} tokens"
    spans = ", ".join(map(_span, sequence.spans))
    show_sequence(console, sequence, title=f"{title}: {spans}" if spans else title)


def sequences_remark(listing: tokenizations_service_pb2.ListSequencesResponse) -> str:
    """How many there are, and how well a view fills them."""
    shown, all_ = number(len(listing.sequences)), number(listing.total_size)
    if not listing.HasField("view"):
        return f"{shown} of {all_} documents"
    kept = share(listing.view.kept_tokens, listing.view.tokens)
    return f"{shown} of {all_} sequences, which keep {kept} of the tokens; `tokenizations stats` with the same view \
tells more"


def match_row(match: tokenization_pb2.TokenMatch) -> Sequence[str | Text]:
    """A match's cells for `MATCH_COLUMNS`."""
    start, end = match.match_start, match.match_end
    found = Text(pieces(match.tokens[start:end]), style=MATCH_STYLE)
    place = (number(match.document), number(match.position))
    return (*place, pieces(match.tokens[:start]), found, pieces(match.tokens[end:]))


def matches_remark(listing: tokenizations_service_pb2.SearchTokensResponse) -> str:
    """How many there are, and what was searched for."""
    shown, ids = number(len(listing.matches)), " ".join(map(str, listing.searched_ids))
    if listing.total_is_known:
        amount = f"{shown} of {number(listing.total_size)} matches in {number(listing.total_documents)} documents"
    elif listing.next_page_token:
        amount = f"{shown} shown; there are more, which --count counts"
    else:
        amount = f"matches: {shown}"
    return f"{amount}\nsearched for the ids {ids}"


def _part(tokens: int, whole: int) -> str:
    return f"{number(tokens)} ({share(tokens, whole)})" if whole else number(tokens)


def _span(span: view_pb2.SequenceSpan) -> str:
    last = span.document_start + span.tokens - 1
    return f"document {number(span.document)} [{number(span.document_start)}–{number(last)}]"

"""Views in the plainest words, one token at a time: what the fast ones are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mistudio_datasets.domain.views import Span, SpecialTokenPolicy, View, ViewFigures, ViewMode

Documents = Sequence[Sequence[int]]


class Token(NamedTuple):
    """A token of a sequence: its id, and where it is stored (document, place), None if the view put it in."""

    id: int
    stored: tuple[int, int] | None


@dataclass(frozen=True)
class PlainView:
    """The sequences of a view, and what it keeps and drops."""

    sequences: list[list[Token]]
    figures: ViewFigures


def plain_view(documents: Documents, view: View, bos: int, eos: int) -> PlainView:
    """The view of `documents`, made token by token."""
    dropped: dict[str, set[tuple[int, int]]] = {name: set() for name in ("truncated", "short", "leftover", "skipped")}
    if view.mode is ViewMode.PACKED:
        sequences = _packed(documents, view, bos, eos)
        dropped["leftover"] = _all(documents) - _kept(sequences)
    else:
        sequences = [
            window
            for number, document in enumerate(documents)
            for window in _windows(number, document, view, bos, eos, dropped)
        ]
    return PlainView(sequences, _figures(documents, view, sequences, dropped))


def spans_of(sequence: list[Token]) -> tuple[Span, ...]:
    """The pieces of documents in a sequence."""
    spans: list[Span] = []
    for place, token in enumerate(sequence):
        if token.stored is None:
            continue
        document, start = token.stored
        last = spans[-1] if spans else None
        if last and last.document == document and last.sequence_start + last.tokens == place:
            spans[-1] = Span(document, last.document_start, last.sequence_start, last.tokens + 1)
        else:
            spans.append(Span(document, start, place, 1))
    return tuple(spans)


def _packed(documents: Documents, view: View, bos: int, eos: int) -> list[list[Token]]:
    stream: list[Token] = []
    for number, document in enumerate(documents):
        if not document:
            continue
        if view.bos is SpecialTokenPolicy.DOCUMENT and document[0] != bos:
            stream.append(Token(bos, None))
        stream += [Token(id_, (number, place)) for place, id_ in enumerate(document)]
        if view.eos is SpecialTokenPolicy.DOCUMENT and document[-1] != eos:
            stream.append(Token(eos, None))
    sequences: list[list[Token]] = []
    while True:
        sequence, rest = _cut(stream, view, bos, eos)
        if len(sequence) < view.context_length:
            return sequences
        sequences.append(sequence)
        stream = rest


def _cut(stream: list[Token], view: View, bos: int, eos: int) -> tuple[list[Token], list[Token]]:
    """The next sequence, place by place; shorter than it must be when the stream runs out."""
    sequence: list[Token] = []
    rest = list(stream)
    for place in range(view.context_length):
        is_first, is_last = place == 0, place == view.context_length - 1
        wanted = None
        if is_first and view.bos is SpecialTokenPolicy.SEQUENCE:
            wanted = bos
        if is_last and view.eos is SpecialTokenPolicy.SEQUENCE:
            wanted = eos
        if wanted is not None and not (rest and rest[0].id == wanted):
            sequence.append(Token(wanted, None))
        elif rest:
            sequence.append(rest.pop(0))
        else:
            return sequence, rest
    return sequence, rest


def _windows(
    number: int, document: Sequence[int], view: View, bos: int, eos: int, dropped: dict[str, set[tuple[int, int]]]
) -> list[list[Token]]:
    tokens = [Token(id_, (number, place)) for place, id_ in enumerate(document)]
    room = view.context_length - sum(policy is not SpecialTokenPolicy.NOWHERE for policy in (view.bos, view.eos))
    found: list[list[Token]] = []
    start = 0
    while start < len(tokens) and (not found or found[-1][-1] is not tokens[-1]):
        found.append(tokens[start : start + room])
        start += view.stride or room
        if view.first_window_only:
            break
    places = {token.stored for token in tokens if token.stored}
    covered = _kept(found)
    dropped["truncated" if view.first_window_only else "skipped"] |= places - covered
    long = [window for window in found if len(window) >= view.min_tokens]
    dropped["short"] |= covered - _kept(long)
    return [_with_marks(window, document, view, bos, eos) for window in long]


def _with_marks(window: list[Token], document: Sequence[int], view: View, bos: int, eos: int) -> list[Token]:
    assert window[0].stored and window[-1].stored
    begins, ends = window[0].stored[1] == 0, window[-1].stored[1] == len(document) - 1
    if window[0].id != bos and (
        view.bos is SpecialTokenPolicy.SEQUENCE or (view.bos is SpecialTokenPolicy.DOCUMENT and begins)
    ):
        marked = [Token(bos, None), *window]
    else:
        marked = list(window)
    if window[-1].id != eos and (
        view.eos is SpecialTokenPolicy.SEQUENCE or (view.eos is SpecialTokenPolicy.DOCUMENT and ends)
    ):
        marked.append(Token(eos, None))
    return marked


def _all(documents: Documents) -> set[tuple[int, int]]:
    return {(number, place) for number, document in enumerate(documents) for place in range(len(document))}


def _kept(sequences: list[list[Token]]) -> set[tuple[int, int]]:
    return {token.stored for sequence in sequences for token in sequence if token.stored}


def _figures(
    documents: Documents, view: View, sequences: list[list[Token]], dropped: dict[str, set[tuple[int, int]]]
) -> ViewFigures:
    kept = _kept(sequences)
    filled = sum(map(len, sequences))
    special = sum(token.stored is None for sequence in sequences for token in sequence)
    places = len(sequences) * view.context_length
    return ViewFigures(
        sequences=len(sequences),
        tokens=sum(map(len, documents)),
        kept_tokens=len(kept),
        dropped_tokens=len(_all(documents) - kept),
        truncated_tokens=len(dropped["truncated"]),
        short_tokens=len(dropped["short"]),
        leftover_tokens=len(dropped["leftover"]),
        skipped_tokens=len(dropped["skipped"]),
        repeated_tokens=filled - special - len(kept),
        special_tokens=special,
        padding_tokens=places - filled,
        utilization=filled / places if places else 0.0,
        documents=len({document for document, _ in kept}),
    )

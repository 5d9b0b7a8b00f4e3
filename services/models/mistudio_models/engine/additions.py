"""What a transformer layer adds to its residual stream, told from the sums of a forward pass.

The stream is every sum in which the layer's input stands with the factor 1. What attention adds are the terms on whose
way from the stream tokens were mixed by attention; what the MLP adds are those on whose way no tokens were mixed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from mistudio_models.engine.dataflow import Mixing, Terms, Value, combined
from mistudio_models.engine.following import Call

NORMS_AFTER = (
    "norms come after the additions: resid_mid is norm(resid_pre + attn_out) and resid_post is norm(resid_mid + "
    "mlp_out), each read after its norm"
)
NO_SUM = "its output is not its input plus something, so what its MLP adds cannot be told"
OTHER_MIXING = "tokens are mixed by something else than attention alone, so there is no attn_out"


@dataclass(frozen=True)
class Additions:
    """What a layer adds, as linear combinations.

    Attributes:
        attention: what attention adds; None where it has none, or where that cannot be told.
        mlp: what the MLP adds; None likewise.
        middle: the stream that the MLP reads; None where that is the layer's input.
        parallel: whether attention and MLP read the same stream.
        notes: what there is to know, in words that are the same for layers alike.
    """

    attention: Terms | None = None
    mlp: Terms | None = None
    middle: Terms | None = None
    parallel: bool = False
    notes: tuple[str, ...] = ()


def additions(start: Value, end: Value, inside: Sequence[Call]) -> Additions:
    """What a layer adds on the way from its input to its output.

    Args:
        start: its input.
        end: its output.
        inside: calls of the modules in it.
    """
    if end.terms.get(start) == 1:
        return _of_sum(start, end)
    return _with_norms_after(start, end, inside) or _of_first_half(start, inside)


def _of_sum(start: Value, end: Value) -> Additions:
    """Of a layer whose output is its input plus something, as in most models."""
    added = _without(end.terms, start.terms)
    mixed = [value for value in added if _mixing([value], {start}, start)]
    if not mixed:
        return Additions(mlp=added)
    middle = _read_middle(added, mixed, start)
    if middle:
        return _checked(start, mixed, Additions(_without(middle, start.terms), _without(end.terms, middle), middle))
    attention = {value: times for value, times in added.items() if value in mixed}
    mlp = _without(added, attention)
    return _checked(start, mixed, Additions(attention, mlp, parallel=bool(mlp)))


def _read_middle(added: Terms, mixed: Collection[Value], start: Value) -> Terms | None:
    """The stream, with all that mixing added, that what else is added was made of."""
    others = [value for value in added if value not in mixed]
    for value in _way(others, {start}, start):
        for read in value.parents:
            if start in read.terms and all(read.terms.get(each) == added[each] for each in mixed):
                return read.terms
    return None


def _with_norms_after(start: Value, end: Value, inside: Sequence[Call]) -> Additions | None:
    """Of a layer with a norm after each of its two additions (BERT)."""
    for first, middle in _norms(inside):
        for second, last in _norms(inside):
            ends_here = last is end and second.get(middle) == 1 and first.get(start) == 1
            attention, mlp = _without(first, start.terms), _without(second, middle.terms)
            if ends_here and not _mixing(mlp, {start, middle}, start):
                found = Additions(attention, mlp, middle.terms, notes=(NORMS_AFTER,))
                return _checked(start, [value for value in attention if _mixing([value], {start}, start)], found)
    return None


def _norms(inside: Iterable[Call]) -> Iterator[tuple[Terms, Value]]:
    """Sums that a module makes something new of, with what it makes."""
    for call in inside:
        if call.given and call.made and len(call.given.terms) > 1 and call.made.terms == {call.made: 1.0}:
            yield call.given.terms, call.made


def _of_first_half(start: Value, inside: Sequence[Call]) -> Additions:
    """Of a layer that does more with the sum at its end (Gemma 4 scales it): what holds up to its middle."""
    sums = [call.given.terms for call in inside if call.given and call.given.terms.get(start) == 1]
    for middle in sorted(sums, key=len):
        added = _without(middle, start.terms)
        mixed = [value for value in added if _mixing([value], {start}, start)]
        if mixed:
            return _checked(start, mixed, Additions(added, middle=middle, notes=(NO_SUM,)))
    return Additions(notes=(NO_SUM,))


def _checked(start: Value, mixed: Iterable[Value], found: Additions) -> Additions:
    """`found`, without attention where it is something else that mixes tokens (a state space, a convolution)."""
    if all(Mixing.ATTENTION in _mixing([value], {start}, start) for value in mixed):
        return found
    return Additions(None, found.mlp, found.middle, notes=(*found.notes, OTHER_MIXING))


def _mixing(values: Iterable[Value], streams: Collection[Value], start: Value) -> set[Mixing]:
    return {value.mixing for value in _way(values, streams, start) if value.mixing}


def _way(values: Iterable[Value], streams: Collection[Value], start: Value) -> Iterator[Value]:
    """What `values` were made of in this layer since it was read from a stream."""

    def is_read(value: Value) -> bool:
        return value.number <= start.number or any(stream in value.terms for stream in streams)

    for value in values:
        yield from value.made_of(is_read)


def _without(terms: Terms, others: Terms) -> Terms:
    return combined(terms, others, -1.0)

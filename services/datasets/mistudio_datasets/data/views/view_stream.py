"""The stream of a packed view: where documents lie in it, and where it is cut into sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mistudio_datasets.data.tokens.token_files import Ids, Ints, TokenBatch, sums
from mistudio_datasets.data.views.view_marks import Flags, Mark, Marks
from mistudio_datasets.domain.views import SpecialTokenPolicy, View


@dataclass(frozen=True)
class StreamBatch:
    """Where the documents of a batch that are not empty lie in the stream; arrays of one length, but `starts`.

    Attributes:
        documents: their numbers; int64, as all that follow.
        starts: place in the stream where each begins, special tokens included, and behind the last its end.
        texts: place in the stream of the first stored token of each.
        sources: first token of each in `ids`.
        lengths: stored tokens of each.
        leads: whether BOS is put before each.
        tails: whether EOS is put behind each.
        ids: stored tokens of the batch, int32.
    """

    documents: Ints
    starts: Ints
    texts: Ints
    sources: Ints
    lengths: Ints
    leads: Flags
    tails: Flags
    ids: Ids


def stream_batch(batch: TokenBatch, first: int, marks: Marks) -> StreamBatch:
    """Where the documents of `batch` lie, which begins at place `first` of the stream."""
    lengths = batch.lengths()
    numbers = np.flatnonzero(lengths)
    lengths = lengths[numbers]
    sources = batch.offsets[numbers].astype(np.int64)
    leads = _put_in(marks.bos, batch.ids, sources)
    tails = _put_in(marks.eos, batch.ids, sources + lengths - 1)
    starts = first + sums(lengths + leads + tails)
    return StreamBatch(
        batch.first_document + numbers, starts, starts[:-1] + leads, sources, lengths, leads, tails, batch.ids
    )


def _put_in(mark: Mark | None, ids: Ids, places: Ints) -> Flags:
    if mark is None or mark.policy is not SpecialTokenPolicy.DOCUMENT:
        return np.zeros(len(places), np.bool_)
    return mark.missing(ids, places)


@dataclass(frozen=True)
class Cuts:
    """Where sequences begin in the stream.

    They lie `period` tokens apart, except where the stream has the special token of a sequence itself, so that the
    sequence takes one token more of it.

    Attributes:
        period: see above.
        sequences: number of whole sequences.
        numbers: sequences from which on the places are counted anew; int64.
        places: where each of these begins.
        own_bos: numbers of the sequences that begin with a BOS of the stream; int64, rising.
        puts_bos: whether the other sequences get one.
    """

    period: int
    sequences: int
    numbers: Ints
    places: Ints
    own_bos: Ints
    puts_bos: bool

    def starts(self, numbers: Ints) -> Ints:
        """Where sequences of these numbers begin."""
        at = np.searchsorted(self.numbers, numbers, side="right") - 1
        return self.places[at] + (numbers - self.numbers[at]) * self.period

    def leads(self, numbers: Ints) -> Ints:
        """BOS tokens that are put before sequences of these numbers: 0 or 1."""
        if not self.puts_bos or not len(self.own_bos):
            return np.full(len(numbers), int(self.puts_bos), np.int64)
        at = np.minimum(np.searchsorted(self.own_bos, numbers), len(self.own_bos) - 1)
        lacks_own: Ints = (self.own_bos[at] != numbers).astype(np.int64)
        return lacks_own


class Cutter:
    """Finds the cuts of a packed view while the stream passes by."""

    def __init__(self, view: View, marks: Marks) -> None:
        self._period = view.room
        self._marks = marks
        self._bos = _of_sequences(marks.bos)
        self._eos = _of_sequences(marks.eos)
        self._numbers, self._places = [0], [0]
        self._own_bos: list[int] = []
        # The sequence that begins next, where it begins unless the stream has an EOS there, and whether it has none.
        self._number, self._place, self._is_settled = 0, 0, True

    def pass_over(self, stream: StreamBatch) -> None:
        """Cut what lies in this batch, which follows the one before."""
        begins = _Places(self._found(stream, self._bos), self._period)
        ends = _Places(self._found(stream, self._eos), self._period)
        until = int(stream.starts[-1])
        while self._place < until:
            begin = begins.next(self._place, until)
            end = ends.next(self._place + (self._period if self._is_settled else 0), until)
            if begin == end == until:
                self._go_on(-((self._place - until) // self._period))
            elif end <= begin:
                self._go_on((end - self._place) // self._period)
                self._restart(end + 1)
                self._is_settled = True
            else:
                self._go_on((begin - self._place) // self._period)
                self._own_bos.append(self._number)
                self._number += 1
                self._restart(begin + self._period + 1)
                self._is_settled = False

    def cuts(self, stream_tokens: int) -> Cuts:
        """The cuts, once all of the stream has passed by."""
        sequences = self._numbers[-1] + (stream_tokens - self._places[-1]) // self._period
        return Cuts(
            self._period,
            sequences,
            np.array(self._numbers, np.int64),
            np.array(self._places, np.int64),
            np.array(self._own_bos, np.int64),
            self._bos is not None,
        )

    def _go_on(self, sequences: int) -> None:
        self._number += sequences
        self._place += sequences * self._period
        if sequences:
            self._is_settled = False

    def _restart(self, place: int) -> None:
        self._place = place
        self._numbers.append(self._number)
        self._places.append(place)

    def _found(self, stream: StreamBatch, mark: Mark | None) -> Ints:
        """Where the stream has the token `mark`, in order."""
        if mark is None:
            return np.empty(0, np.int64)
        found = [_put_bos(stream, self._marks, mark), _put_eos(stream, self._marks, mark), _stored(stream, mark)]
        return np.sort(np.concatenate(found))


def _of_sequences(mark: Mark | None) -> Mark | None:
    return mark if mark is not None and mark.policy is SpecialTokenPolicy.SEQUENCE else None


def _stored(stream: StreamBatch, mark: Mark) -> Ints:
    if not mark.stored:
        return np.empty(0, np.int64)
    found = np.flatnonzero(stream.ids == mark.id)
    documents = np.searchsorted(stream.sources, found, side="right") - 1
    return stream.texts[documents] + found - stream.sources[documents]


def _put_bos(stream: StreamBatch, marks: Marks, mark: Mark) -> Ints:
    is_same = marks.bos is not None and marks.bos.id == mark.id
    return stream.starts[:-1][stream.leads] if is_same else np.empty(0, np.int64)


def _put_eos(stream: StreamBatch, marks: Marks, mark: Mark) -> Ints:
    is_same = marks.eos is not None and marks.eos.id == mark.id
    return stream.starts[1:][stream.tails] - 1 if is_same else np.empty(0, np.int64)


class _Places:
    """Places in the stream, in order, that can be asked for the next one a whole number of periods away."""

    def __init__(self, places: Ints, period: int) -> None:
        self._places = places
        self._phases = places % period
        self._period = period

    def next(self, place: int, none: int) -> int:
        """The first of the places that is `place` or lies whole periods behind it; `none` if there is none."""
        at = int(np.searchsorted(self._places, place)) if len(self._places) else 0
        phase = place % self._period
        while at < len(self._places):
            matches = self._phases[at : at + self._period] == phase
            found = int(matches.argmax())
            if matches[found]:
                return int(self._places[at + found])
            at += self._period
        return none

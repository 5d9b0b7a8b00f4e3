"""Packed views: all documents in one stream, which is cut into sequences; see `View` for the rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mistudio_datasets.data.tokens.manifest import SpecialIds
from mistudio_datasets.data.tokens.token_files import Ids, Ints, TokenFiles
from mistudio_datasets.data.views.view_marks import Marks, marks_of
from mistudio_datasets.data.views.view_sequences import SequenceBatch, SpanTable, copy_runs, ranges
from mistudio_datasets.data.views.view_stream import Cuts, Cutter, StreamBatch, stream_batch
from mistudio_datasets.domain.views import View, ViewFigures


@dataclass(frozen=True)
class _Wanted:
    """Sequences to read, in the order of the stream; int64 arrays of one length.

    Attributes:
        starts: place in the stream where each begins.
        ends: place in the stream behind each.
        bases: what turns a place in the stream into one in the flat answer, for each.
        leads: tokens put before each, 0 or 1.
    """

    starts: Ints
    ends: Ints
    bases: Ints
    leads: Ints


@dataclass(frozen=True)
class PackedPlan:
    """A packed view, gone through once.

    Attributes:
        figures: what it keeps and drops.
        firsts: tokens of the stream before each batch of documents, and behind the last all of them; int64.
        cuts: where sequences begin.
    """

    view: View
    marks: Marks
    figures: ViewFigures
    firsts: Ints
    cuts: Cuts

    def lengths(self, files: TokenFiles, numbers: Ints) -> Ints:
        """Tokens of the sequences of these numbers."""
        return np.full(len(numbers), self.view.context_length, np.int64)

    def take(self, files: TokenFiles, numbers: Ints) -> SequenceBatch:
        """The sequences of these numbers, which rise."""
        length = self.view.context_length
        offsets = np.arange(len(numbers) + 1) * length
        out = np.empty(len(numbers) * length, np.int32)
        wanted = self._wanted(numbers, offsets)
        self._put_edges(out, offsets, wanted)
        spans = [
            self._read(stream_batch(files.batch(at), int(self.firsts[at]), self.marks), wanted, out)
            for at in _touched(self.firsts, wanted).tolist()
        ]
        return SequenceBatch(out, offsets, SpanTable.joined(spans))

    def _wanted(self, numbers: Ints, offsets: Ints) -> _Wanted:
        starts, ends = self.cuts.starts(numbers), self.cuts.starts(numbers + 1)
        leads = self.cuts.leads(numbers)
        return _Wanted(starts, ends, offsets[:-1] + leads - starts, leads)

    def _put_edges(self, out: Ids, offsets: Ints, wanted: _Wanted) -> None:
        """Put the special tokens of policy SEQUENCE."""
        if self.marks.bos:
            out[offsets[:-1][wanted.leads > 0]] = self.marks.bos.id
        if self.marks.eos:
            is_short = wanted.leads + wanted.ends - wanted.starts < self.view.context_length
            out[offsets[1:][is_short] - 1] = self.marks.eos.id

    def _read(self, stream: StreamBatch, wanted: _Wanted, out: Ids) -> SpanTable:
        """Fill in what a batch of documents holds of the wanted sequences."""
        first = int(np.searchsorted(wanted.ends, stream.starts[0], side="right"))
        end = int(np.searchsorted(wanted.starts, stream.starts[-1], side="left"))
        low = np.maximum(wanted.starts[first:end], stream.starts[0])
        high = np.minimum(wanted.ends[first:end], stream.starts[-1])
        first_documents = np.searchsorted(stream.starts, low, side="right") - 1
        counts = np.searchsorted(stream.starts, high, side="left") - first_documents
        documents = ranges(first_documents, counts)
        of = np.repeat(np.arange(first, end), counts)
        low, high = np.repeat(low, counts), np.repeat(high, counts)
        self._put_marks(out, stream, documents, low, high, wanted.bases[of])
        return _copy(out, stream, documents, low, high, of, wanted)

    def _put_marks(self, out: Ids, stream: StreamBatch, documents: Ints, low: Ints, high: Ints, bases: Ints) -> None:
        """Put the special tokens of policy DOCUMENT."""
        if self.marks.bos:
            places = stream.starts[documents]
            here = stream.leads[documents] & (places >= low)
            out[(places + bases)[here]] = self.marks.bos.id
        if self.marks.eos:
            places = stream.starts[documents + 1] - 1
            here = stream.tails[documents] & (places < high)
            out[(places + bases)[here]] = self.marks.eos.id


def _copy(
    out: Ids, stream: StreamBatch, documents: Ints, low: Ints, high: Ints, of: Ints, wanted: _Wanted
) -> SpanTable:
    """Copy the stored tokens of `documents[i]` that lie from `low[i]` to `high[i]` in the stream."""
    text = stream.texts[documents]
    begin = np.maximum(text, low)
    tokens = np.minimum(text + stream.lengths[documents], high) - begin
    starts = begin - text
    copied = tokens > 0
    bases = wanted.bases[of]
    copy_runs(out, (begin + bases)[copied], stream.ids, (stream.sources[documents] + starts)[copied], tokens[copied])
    spans = SpanTable(
        sequence=of,
        document=stream.documents[documents],
        document_start=starts,
        sequence_start=begin - wanted.starts[of] + wanted.leads[of],
        tokens=tokens,
    )
    return spans.where(np.flatnonzero(copied))


def _touched(firsts: Ints, wanted: _Wanted) -> Ints:
    """Numbers of the batches that hold something of the wanted sequences."""
    opened = np.zeros(len(firsts) + 1, np.int64)
    np.add.at(opened, np.searchsorted(firsts, wanted.starts, side="right") - 1, 1)
    np.add.at(opened, np.searchsorted(firsts, wanted.ends, side="left"), -1)
    return np.flatnonzero((np.cumsum(opened)[: len(firsts) - 1] > 0) & (np.diff(firsts) > 0))


def plan_packed(files: TokenFiles, view: View, special: SpecialIds) -> PackedPlan:
    """Go through the documents of `files` once: by their lengths alone, and where documents hold a special token that
    the view puts in, by their ids.
    """
    marks = marks_of(files, view, special)
    cutter = Cutter(view, marks)
    firsts = np.zeros(len(files) + 1, np.int64)
    filled = np.zeros(len(files) + 1, np.int64)
    for batch in files.batches():
        stream = stream_batch(batch, int(firsts[batch.number]), marks)
        cutter.pass_over(stream)
        firsts[batch.number + 1] = stream.starts[-1]
        filled[batch.number + 1] = filled[batch.number] + len(stream.documents)
    cuts = cutter.cuts(int(firsts[-1]))
    return PackedPlan(view, marks, _figures(files, view, marks, firsts, filled, cuts), firsts, cuts)


def _figures(files: TokenFiles, view: View, marks: Marks, firsts: Ints, filled: Ints, cuts: Cuts) -> ViewFigures:
    end = int(cuts.starts(np.array([cuts.sequences]))[0])
    kept, documents = _before(files, marks, firsts, filled, end)
    return ViewFigures(
        sequences=cuts.sequences,
        tokens=files.tokens,
        kept_tokens=kept,
        dropped_tokens=files.tokens - kept,
        truncated_tokens=0,
        short_tokens=0,
        leftover_tokens=files.tokens - kept,
        skipped_tokens=0,
        repeated_tokens=0,
        special_tokens=cuts.sequences * view.context_length - kept,
        padding_tokens=0,
        utilization=1.0 if cuts.sequences else 0.0,
        documents=documents,
    )


def _before(files: TokenFiles, marks: Marks, firsts: Ints, filled: Ints, end: int) -> tuple[int, int]:
    """Stored tokens before the place `end` of the stream, and documents that have one there."""
    if end == 0:
        return 0, 0
    at = int(np.searchsorted(firsts, end, side="left")) - 1
    batch = files.batch(at)
    stream = stream_batch(batch, int(firsts[at]), marks)
    tokens = np.clip(end - stream.texts, 0, stream.lengths)
    return batch.first_token + int(tokens.sum()), int(filled[at]) + int(np.count_nonzero(tokens))

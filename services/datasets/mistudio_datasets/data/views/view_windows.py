"""Windows: every document cut on its own; see `View` for the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mistudio_datasets.data.tokens.manifest import SpecialIds
from mistudio_datasets.data.tokens.token_files import Ids, Ints, TokenBatch, TokenFiles, sums
from mistudio_datasets.data.views.view_marks import Flags, Mark, Marks, marks_of
from mistudio_datasets.data.views.view_sequences import SequenceBatch, SpanTable, copy_runs, ranges
from mistudio_datasets.domain.views import SpecialTokenPolicy, View, ViewFigures


@dataclass(frozen=True)
class _Documents:
    """The documents of a batch that are not empty; int64 arrays of one length.

    Attributes:
        numbers: in the batch, from 0.
        sources: first token of each among the batch's ids.
        lengths: tokens of each.
        windows: windows that each has; with `first_window_only` at most one.
        kept: of these, those that are not too short.
    """

    numbers: Ints
    sources: Ints
    lengths: Ints
    windows: Ints
    kept: Ints


def _documents(batch: TokenBatch, view: View) -> _Documents:
    lengths = batch.lengths()
    numbers = np.flatnonzero(lengths)
    lengths = lengths[numbers]
    windows = _window_counts(lengths, view)
    is_short = _last_lengths(lengths, windows, view) < view.min_tokens
    return _Documents(numbers, batch.offsets[numbers].astype(np.int64), lengths, windows, windows - is_short)


def _window_counts(lengths: Ints, view: View) -> Ints:
    """A window follows the one before it if it begins in the document, and that one did not reach its end."""
    if view.first_window_only:
        return np.ones_like(lengths)
    to_cover = lengths - max(0, view.room - view.step)
    return np.maximum(1, -(-to_cover // view.step))


def _last_lengths(lengths: Ints, windows: Ints, view: View) -> Ints:
    last: Ints = np.minimum(view.room, lengths - (windows - 1) * view.step)
    return last


@dataclass(frozen=True)
class _Windows:
    """Windows of a batch; int64 arrays of one length, but `leads` and `tails`.

    Attributes:
        documents: the document of each, numbered in the batch.
        starts: first token of each in its document.
        sources: first token of each among the batch's ids.
        tokens: stored tokens of each.
        leads: whether BOS is put before it.
        tails: whether EOS is put behind it.
    """

    documents: Ints
    starts: Ints
    sources: Ints
    tokens: Ints
    leads: Flags
    tails: Flags

    def lengths(self) -> Ints:
        """Tokens of each, special tokens included."""
        return self.tokens + self.leads + self.tails


def _windows(batch: TokenBatch, documents: _Documents, of: Ints, number: Ints, view: View, marks: Marks) -> _Windows:
    """Window `number[i]` of document `of[i]`, for every i."""
    starts = number * view.step
    tokens = np.minimum(view.room, documents.lengths[of] - starts)
    sources = documents.sources[of] + starts
    ends_document = starts + tokens == documents.lengths[of]
    return _Windows(
        documents.numbers[of],
        starts,
        sources,
        tokens,
        leads=_put_in(marks.bos, batch.ids, sources, number == 0),
        tails=_put_in(marks.eos, batch.ids, sources + tokens - 1, ends_document),
    )


def _put_in(mark: Mark | None, ids: Ids, places: Ints, at_documents_edge: Flags) -> Flags:
    """Whether the mark is put next to each of `places`."""
    if mark is None:
        return np.zeros(len(places), np.bool_)
    missing = mark.missing(ids, places)
    return missing if mark.policy is SpecialTokenPolicy.SEQUENCE else missing & at_documents_edge


@dataclass(frozen=True)
class WindowsPlan:
    """A view of windows, gone through once.

    Attributes:
        figures: what it keeps and drops.
        firsts: sequences before each batch of documents, and behind the last all of them; int64.
    """

    view: View
    marks: Marks
    figures: ViewFigures
    firsts: Ints

    def lengths(self, files: TokenFiles, numbers: Ints) -> Ints:
        """Tokens of the sequences of these numbers, which rise."""
        return _lengths(self._parts(files, numbers))

    def take(self, files: TokenFiles, numbers: Ints) -> SequenceBatch:
        """The sequences of these numbers, which rise."""
        parts = self._parts(files, numbers)
        offsets = sums(_lengths(parts))
        out, spans, done = np.empty(offsets[-1], np.int32), [], 0
        for batch, windows in parts:
            count = len(windows.tokens)
            self._write(out, offsets[done : done + count], batch.ids, windows)
            spans.append(_spans(batch, windows, done))
            done += count
        return SequenceBatch(out, offsets, SpanTable.joined(spans))

    def _parts(self, files: TokenFiles, numbers: Ints) -> list[tuple[TokenBatch, _Windows]]:
        places = np.searchsorted(self.firsts, numbers, side="right") - 1
        return [self._read(files.batch(int(at)), numbers[places == at]) for at in np.unique(places)]

    def _read(self, batch: TokenBatch, numbers: Ints) -> tuple[TokenBatch, _Windows]:
        documents = _documents(batch, self.view)
        firsts = self.firsts[batch.number] + sums(documents.kept)
        of = np.searchsorted(firsts, numbers, side="right") - 1
        return batch, _windows(batch, documents, of, numbers - firsts[of], self.view, self.marks)

    def _write(self, out: Ids, offsets: Ints, ids: Ids, windows: _Windows) -> None:
        copy_runs(out, offsets + windows.leads, ids, windows.sources, windows.tokens)
        if self.marks.bos:
            out[offsets[windows.leads]] = self.marks.bos.id
        if self.marks.eos:
            out[(offsets + windows.leads + windows.tokens)[windows.tails]] = self.marks.eos.id


def _lengths(parts: list[tuple[TokenBatch, _Windows]]) -> Ints:
    return np.concatenate([np.empty(0, np.int64)] + [windows.lengths() for _, windows in parts])


def _spans(batch: TokenBatch, windows: _Windows, first: int) -> SpanTable:
    return SpanTable(
        sequence=np.arange(first, first + len(windows.tokens)),
        document=batch.first_document + windows.documents,
        document_start=windows.starts,
        sequence_start=windows.leads.astype(np.int64),
        tokens=windows.tokens,
    )


def plan_windows(files: TokenFiles, view: View, special: SpecialIds) -> WindowsPlan:
    """Go through the documents of `files` once: by their lengths alone, and where documents hold a special token that
    the view puts in, by the ids at the edges of windows.
    """
    marks = marks_of(files, view, special)
    counts = [_count(batch, view, marks) for batch in files.batches()]
    table = np.array(counts, np.int64).reshape(-1, len(_Count._fields))
    totals = _Count(*table.sum(axis=0).tolist())
    return WindowsPlan(view, marks, _figures(view, totals), sums(table[:, _Count._fields.index("sequences")]))


class _Count(NamedTuple):
    """What a batch contributes to the figures; `occurrences` are stored tokens in sequences, each time they occur."""

    sequences: int
    tokens: int
    truncated: int
    short: int
    skipped: int
    occurrences: int
    special: int
    documents: int


def _count(batch: TokenBatch, view: View, marks: Marks) -> _Count:
    documents = _documents(batch, view)
    windows, lengths = documents.windows, documents.lengths
    last = _last_lengths(lengths, windows, view)
    is_short = documents.kept < windows
    outside = int(lengths.sum() - _covered(windows, last, view).sum())
    return _Count(
        sequences=int(documents.kept.sum()),
        tokens=len(batch.ids),
        truncated=outside if view.first_window_only else 0,
        short=int(_only_in_last(lengths, windows, last, view)[is_short].sum()),
        skipped=0 if view.first_window_only else outside,
        occurrences=int(((windows - 1) * view.room).sum() + last[~is_short].sum()),
        special=_special_count(batch, documents, view, marks),
        documents=int(np.count_nonzero(documents.kept)),
    )


def _covered(windows: Ints, last: Ints, view: View) -> Ints:
    """Tokens of each document that are in a window, too short or not."""
    return (windows - 1) * min(view.step, view.room) + last


def _only_in_last(lengths: Ints, windows: Ints, last: Ints, view: View) -> Ints:
    """Tokens of each document that are in its last window and in no window before it."""
    behind_others = lengths - ((windows - 2) * view.step + view.room)
    return np.where(windows == 1, last, np.minimum(last, behind_others))


def _special_count(batch: TokenBatch, documents: _Documents, view: View, marks: Marks) -> int:
    if marks.bos is None and marks.eos is None:
        return 0
    of = np.repeat(np.arange(len(documents.kept)), documents.kept)
    number = ranges(np.zeros_like(documents.kept), documents.kept)
    windows = _windows(batch, documents, of, number, view, marks)
    return int(np.count_nonzero(windows.leads) + np.count_nonzero(windows.tails))


def _figures(view: View, total: _Count) -> ViewFigures:
    dropped = total.truncated + total.short + total.skipped
    kept = total.tokens - dropped
    places, filled = total.sequences * view.context_length, total.occurrences + total.special
    return ViewFigures(
        sequences=total.sequences,
        tokens=total.tokens,
        kept_tokens=kept,
        dropped_tokens=dropped,
        truncated_tokens=total.truncated,
        short_tokens=total.short,
        leftover_tokens=0,
        skipped_tokens=total.skipped,
        repeated_tokens=total.occurrences - kept,
        special_tokens=total.special,
        padding_tokens=places - filled,
        utilization=filled / places if places else 0.0,
        documents=total.documents,
    )

"""Views as messages."""

from __future__ import annotations

from dataclasses import asdict

from mistudio.datasets.v1 import tokenization_pb2, view_pb2
from mistudio_datasets.data.tokens.sequences import TokenSequence
from mistudio_datasets.domain.views import Span, SpecialTokenPolicy, View, ViewFigures, ViewMode
from mistudio_servicekit.errors import InvalidArgument, MissingField

_MODES = {view_pb2.VIEW_MODE_PACKED: ViewMode.PACKED, view_pb2.VIEW_MODE_WINDOWS: ViewMode.WINDOWS}
_POLICIES = {
    view_pb2.SPECIAL_TOKEN_POLICY_UNSPECIFIED: SpecialTokenPolicy.NOWHERE,
    view_pb2.SPECIAL_TOKEN_POLICY_DOCUMENT: SpecialTokenPolicy.DOCUMENT,
    view_pb2.SPECIAL_TOKEN_POLICY_SEQUENCE: SpecialTokenPolicy.SEQUENCE,
}
_MODE_VALUES = {mode: value for value, mode in _MODES.items()}
_POLICY_VALUES = {policy: value for value, policy in _POLICIES.items()}


def view_of(message: view_pb2.View) -> View:
    """The view that a client describes; `View.check` tells whether its numbers can be right.

    Raises:
        MissingField: its mode is not given.
        InvalidArgument: its mode or a policy is none that is known.
    """
    return View(
        mode=_mode(message.mode),
        context_length=message.context_length,
        stride=message.stride,
        bos=_policy("bos", message.bos),
        eos=_policy("eos", message.eos),
        first_window_only=message.first_window_only,
        min_tokens=message.min_tokens,
    )


def _mode(value: view_pb2.ViewMode.ValueType) -> ViewMode:
    if value == view_pb2.VIEW_MODE_UNSPECIFIED:
        raise MissingField.of("view.mode", "VIEW_MODE_PACKED")
    if value not in _MODES:
        raise _unknown("view.mode", value, view_pb2.ViewMode.keys()[1:])
    return _MODES[value]


def _policy(field: str, value: view_pb2.SpecialTokenPolicy.ValueType) -> SpecialTokenPolicy:
    if value not in _POLICIES:
        raise _unknown(f"view.{field}", value, view_pb2.SpecialTokenPolicy.keys())
    return _POLICIES[value]


def _unknown(field: str, value: int, known: list[str]) -> InvalidArgument:
    return InvalidArgument(f"{field} is {value}", next_step=f"Use one of {', '.join(known)}", field=field)


def view_message(view: View) -> view_pb2.View:
    """The view as clients see it."""
    return view_pb2.View(
        mode=_MODE_VALUES[view.mode],
        context_length=view.context_length,
        stride=view.stride,
        bos=_POLICY_VALUES[view.bos],
        eos=_POLICY_VALUES[view.eos],
        first_window_only=view.first_window_only,
        min_tokens=view.min_tokens,
    )


def figures_message(figures: ViewFigures) -> view_pb2.ViewFigures:
    """What a view keeps and drops, as clients see it; field names are the same."""
    return view_pb2.ViewFigures(**asdict(figures))


def span_message(span: Span) -> view_pb2.SequenceSpan:
    """A piece of a document, as clients see it; field names are the same."""
    return view_pb2.SequenceSpan(**asdict(span))


def sequence_message(sequence: TokenSequence) -> tokenization_pb2.TokenSequence:
    """A tokenized document or a sequence of a view, as clients see it."""
    return tokenization_pb2.TokenSequence(
        document=sequence.document,
        token_ids=sequence.token_ids,
        tokens=sequence.tokens,
        total_tokens=sequence.total_tokens,
        sequence=sequence.sequence,
        spans=map(span_message, sequence.spans),
    )

"""Histograms drawn in characters."""

from __future__ import annotations

from collections.abc import Sequence

from mistudio.datasets.v1 import column_statistics_pb2, tokenization_pb2
from mistudio_client.cli.rendering.formats import figure, number

_FULL = "█"
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def length_histogram(bins: Sequence[tokenization_pb2.LengthBin], width: int = 40) -> list[str]:
    """One line a bin: its lengths, a bar of at most `width` characters, its documents. Empty ends are left out."""
    return _drawn([(_label(each), each.documents) for each in bins], width)


def number_histogram(bins: Sequence[column_statistics_pb2.NumberBin], width: int = 40) -> list[str]:
    """As `length_histogram`, of rows by numbers."""
    return _drawn([(f"{figure(getattr(each, 'from'))}–{figure(each.to)}", each.rows) for each in bins], width)


def _drawn(bins: Sequence[tuple[str, int]], width: int) -> list[str]:
    """Labels and counts as lines, without empty ends."""
    filled = [index for index, (_, count) in enumerate(bins) if count]
    shown = bins[filled[0] : filled[-1] + 1] if filled else []
    most = max((count for _, count in shown), default=0)
    widest = max((len(label) for label, _ in shown), default=0)
    return [f"{label:>{widest}}  {bar(count, most, width):<{width}}  {number(count)}" for label, count in shown]


def bar(value: float, most: float, width: int) -> str:
    """A bar as long as `value` is to `most`, to an eighth of a character; any value but 0 shows."""
    eighths = round(8 * width * value / most) if most else 0
    whole, rest = divmod(max(eighths, 1 if value else 0), 8)
    return _FULL * whole + _EIGHTHS[rest]


def _label(each: tokenization_pb2.LengthBin) -> str:
    longest = each.to_tokens - 1
    return number(each.from_tokens) if longest <= each.from_tokens else f"{number(each.from_tokens)}–{number(longest)}"

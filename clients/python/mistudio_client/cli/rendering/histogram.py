"""Length histograms drawn in characters."""

from __future__ import annotations

from collections.abc import Sequence

from mistudio.datasets.v1 import tokenization_pb2
from mistudio_client.cli.rendering.formats import number

_FULL = "█"
_EIGHTHS = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")


def length_histogram(bins: Sequence[tokenization_pb2.LengthBin], width: int = 40) -> list[str]:
    """One line a bin: its lengths, a bar of at most `width` characters, its documents. Empty ends are left out."""
    shown = _without_empty_ends(bins)
    most = max((each.documents for each in shown), default=0)
    labels = [_label(each) for each in shown]
    widest = max(map(len, labels), default=0)
    return [
        f"{label:>{widest}}  {bar(each.documents, most, width):<{width}}  {number(each.documents)}"
        for label, each in zip(labels, shown, strict=True)
    ]


def bar(value: float, most: float, width: int) -> str:
    """A bar as long as `value` is to `most`, to an eighth of a character; any value but 0 shows."""
    eighths = round(8 * width * value / most) if most else 0
    whole, rest = divmod(max(eighths, 1 if value else 0), 8)
    return _FULL * whole + _EIGHTHS[rest]


def _without_empty_ends(bins: Sequence[tokenization_pb2.LengthBin]) -> Sequence[tokenization_pb2.LengthBin]:
    filled = [index for index, each in enumerate(bins) if each.documents]
    return bins[filled[0] : filled[-1] + 1] if filled else []


def _label(each: tokenization_pb2.LengthBin) -> str:
    longest = each.to_tokens - 1
    return number(each.from_tokens) if longest <= each.from_tokens else f"{number(each.from_tokens)}–{number(longest)}"

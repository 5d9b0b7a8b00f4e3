"""What a tokenization holds: its statistics and its documents."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from mistudio.datasets.v1 import tokenization_pb2
from mistudio_client.cli.rendering.formats import number, shortened, visible
from mistudio_client.cli.rendering.histogram import length_histogram
from mistudio_client.cli.rendering.tables import PIPE_WIDTH, show_facts

_SHOWN_PERCENTILES = (5, 25, 75, 95, 99)
_SHOWN_TOKENS = 10
_PIECES_SEPARATOR = "|"


def show_statistics(console: Console, statistics: tokenization_pb2.TokenizationStatistics) -> None:
    """Print the figures as a table, then the histogram."""
    show_facts(console, statistics_facts(statistics))
    console.print()
    console.print(Text("documents by length in tokens", style="bold"))
    for line in length_histogram(statistics.histogram):
        console.print(Text(line), soft_wrap=True)


def statistics_facts(statistics: tokenization_pb2.TokenizationStatistics) -> list[tuple[str, str]]:
    """The figures with their names."""
    used, size = statistics.vocabulary_used, statistics.vocabulary_size
    share = f" ({100 * used / size:.1f} %)" if size else ""
    top = ", ".join(f"{each.token} {number(each.count)}" for each in statistics.top_tokens[:_SHOWN_TOKENS])
    lengths = [
        ("shortest", number(statistics.min_tokens)),
        ("mean", number(round(statistics.mean_tokens, 1))),
        ("median", number(statistics.median_tokens)),
        ("longest", number(statistics.max_tokens)),
    ]
    return [
        ("documents", number(statistics.documents)),
        ("of these empty", number(statistics.empty_documents)),
        ("tokens", number(statistics.tokens)),
        ("tokens a document", ", ".join(f"{name} {value}" for name, value in lengths)),
        ("percentiles", _percentiles(statistics)),
        ("vocabulary used", f"{number(used)} of {number(size)}{share}"),
        ("most frequent", top),
    ]


def show_sequence(
    console: Console,
    sequence: tokenization_pb2.TokenSequence,
    *,
    title: str = "",
    text: str = "",
    width: int = PIPE_WIDTH,
) -> None:
    """Print a document's text, where it is known, its tokens, separated by bars, and their ids; each at most `width`
    characters. Without a title it is called by its number.
    """
    title = title or f"document {number(sequence.document)}, {number(sequence.total_tokens)} tokens"
    ids = " ".join(map(str, sequence.token_ids))
    show_lines(console, title, [("text", visible(text)), ("tokens", pieces(sequence.tokens)), ("ids", ids)], width)


def show_lines(console: Console, title: str, lines: Iterable[tuple[str, str]], width: int = PIPE_WIDTH) -> None:
    """Print a title, and below it named lines of visible text, each at most `width` characters; empty ones are left
    out.
    """
    console.print(Text(title, style="bold"), soft_wrap=True)
    for name, line in lines:
        if line:
            console.print(Text(f"  {name:<7} {shortened(line, width)}"), soft_wrap=True)


def pieces(tokens: Iterable[str]) -> str:
    """Texts of tokens, separated by bars."""
    return _PIECES_SEPARATOR.join(map(visible, tokens))


def _percentiles(statistics: tokenization_pb2.TokenizationStatistics) -> str:
    by_percent = {round(each.percentile): each.tokens for each in statistics.percentiles}
    return ", ".join(
        f"{percent} %: {number(by_percent[percent])}" for percent in _SHOWN_PERCENTILES if percent in by_percent
    )

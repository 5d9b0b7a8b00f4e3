"""Rows as they would be tokenized."""

from __future__ import annotations

from rich.console import Console

from mistudio.datasets.v1 import tokenization_pb2, tokenizations_service_pb2
from mistudio_client.cli.rendering.formats import number, shortened, visible
from mistudio_client.cli.rendering.settings import settings_facts, steps
from mistudio_client.cli.rendering.tables import show_facts
from mistudio_client.cli.rendering.tokens import pieces, show_lines

_LINE_WIDTH = 2_000
_TEMPLATE_WIDTH = 200


def show_preview(console: Console, preview: tokenizations_service_pb2.PreviewTokenizationResponse) -> None:
    """Print the settings with every default, then each row."""
    template = ("chat template", shortened(preview.chat_template, _TEMPLATE_WIDTH))
    show_facts(console, [*settings_facts(preview.settings), template])
    for row in preview.rows:
        console.print()
        _show_row(console, row)


def _show_row(console: Console, row: tokenization_pb2.PreviewedRow) -> None:
    """Its texts before and after, where they differ, its tokens, what changed it, why it would be empty."""
    lines = [
        ("problem", visible(row.problem)),
        ("changed", f"by {steps(row.changed_by)}" if row.changed_by else ""),
        ("was", visible(row.original_text) if row.original_text != row.text else ""),
        ("text", visible(row.text)),
        ("tokens", pieces(row.tokens)),
        ("ids", " ".join(map(str, row.token_ids))),
    ]
    show_lines(console, f"row {number(row.row)}, {number(row.total_tokens)} tokens", lines, _LINE_WIDTH)

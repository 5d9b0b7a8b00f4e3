"""Tables and lists of facts: aligned columns, without frames, the same in a terminal and in a pipe."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mistudio_client.cli.rendering.formats import visible
from mistudio_client.cli.rendering.views import draws

# Wide enough that nothing is cut where there is no screen to fit.
PIPE_WIDTH = 10_000

_ABSENT = "—"


def show_table(
    console: Console, headers: Sequence[str], rows: Iterable[Sequence[str | Text]], numeric: str = ""
) -> None:
    """Print rows below their headers; the columns named in `numeric` (separated by blanks) are flush right.

    Cells that are `Text` are printed as they are, with their styles.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    right = set(numeric.split())
    for header in headers:
        table.add_column(header, justify="right" if header in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    _print(console, table)


def show_facts(console: Console, facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one pair a line; empty values are left out."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            table.add_row(Text(name), Text(visible(value)))
    _print(console, table)


def _cell(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(visible(cell) or _ABSENT)


def _print(console: Console, table: Table) -> None:
    if draws(console):
        console.print(table)
        return
    wide = Console(file=io.StringIO(), width=PIPE_WIDTH, force_terminal=False, color_system=None)
    with wide.capture() as captured:
        wide.print(table)
    # Cells are padded to their column's width; in a pipe the blanks at the ends of lines are of no use.
    for line in captured.get().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)

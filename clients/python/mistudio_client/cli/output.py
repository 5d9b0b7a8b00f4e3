"""Where commands print: text for people, or protobuf JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.text import Text

from mistudio_client.cli.rendering.formats import visible
from mistudio_client.cli.rendering.tables import show_facts, show_table
from mistudio_client.cli.rendering.views import JobsView, QuietView, view_for


def plain_console() -> Console:
    """A console on stdout that takes text as it is: no markup, no guessed colours."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


@dataclass(frozen=True)
class Output:
    """Output of one command.

    Attributes:
        console: for people.
        as_json: print messages as JSON and nothing else.
    """

    console: Console
    as_json: bool

    @classmethod
    def to_terminal(cls, as_json: bool) -> Output:
        """Output on stdout."""
        return cls(plain_console(), as_json)

    def jobs_view(self) -> JobsView:
        """A live view of jobs; of none in JSON."""
        return QuietView() if self.as_json else view_for(self.console)

    def message(self, message: Message) -> None:
        """Print a message as indented JSON."""
        click.echo(json.dumps(as_dict(message), indent=2, ensure_ascii=False))

    def message_line(self, message: Message) -> None:
        """Print a message as JSON on one line."""
        click.echo(json.dumps(as_dict(message), ensure_ascii=False))

    def facts(self, message: Message, facts: Iterable[tuple[str, str]]) -> None:
        """Print one thing: as JSON, or as names and values."""
        if self.as_json:
            self.message(message)
        else:
            show_facts(self.console, facts)

    def table(
        self, listing: Message, headers: Sequence[str], rows: Iterable[Sequence[str | Text]], numeric: str = ""
    ) -> None:
        """Print many things: as JSON, or as a table."""
        if self.as_json:
            self.message(listing)
        else:
            show_table(self.console, headers, rows, numeric)

    def done(self, answer: Message, text: str) -> None:
        """Print that something was done: the answer as JSON, or a sentence."""
        if self.as_json:
            self.message(answer)
        else:
            self.console.print(Text(visible(text)), soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a remark on stderr."""
        click.echo(text, err=True)


def as_dict(message: Message) -> dict[str, object]:
    """A message in protobuf's JSON mapping, with the field names of the protos and unset values shown."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)

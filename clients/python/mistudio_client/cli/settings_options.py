"""Options that say what is tokenized."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import click

from mistudio.datasets.v1 import tokenization_pb2
from mistudio_client.cli.choices import CLEANING_STEPS, CONVERSATION_FORMATS
from mistudio_client.cli.options import split_option

_CHAT_COLUMNS = {
    "messages_column": "Column with the list of messages.",
    "prompt_column": "Column with the prompt.",
    "response_column": "Column with the response.",
    "system_column": "Column with a system message.",
    "input_column": "Column with what the prompt is about.",
}


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command's parameter `settings`, a `TokenizationSettings`, from an option for each of its fields."""

    @split_option
    @click.option("--text-column", default="", help="Column with the text; by default found out.")
    @click.option("--chat", is_flag=True, help="Render conversations with the model's chat template.")
    @click.option(
        "--chat-format",
        type=click.Choice(list(CONVERSATION_FORMATS)),
        help="How conversations are written; by default found out. This and the columns below imply --chat.",
    )
    @_chat_column_options
    @click.option(
        "--clean",
        "steps",
        metavar="STEP",
        type=click.Choice(list(CLEANING_STEPS)),
        multiple=True,
        help=f"Step of cleaning, may be repeated; done in the order given: {', '.join(CLEANING_STEPS)}.",
    )
    @functools.wraps(command)
    def run(
        split: str, text_column: str, chat: bool, chat_format: str | None, steps: Sequence[str], **options: Any
    ) -> None:
        columns = {name: options.pop(name) for name in _CHAT_COLUMNS}
        settings = tokenization_pb2.TokenizationSettings(
            split=split, text_column=text_column, cleaning=[CLEANING_STEPS[step] for step in steps]
        )
        if chat or chat_format or any(columns.values()):
            settings.chat.CopyFrom(_chat(chat_format, columns))
        command(settings=settings, **options)

    return run


def _chat_column_options(command: Callable[..., None]) -> Callable[..., None]:
    for name, meaning in reversed(_CHAT_COLUMNS.items()):
        option = click.option(f"--{name.replace('_', '-')}", default="", metavar="COLUMN", help=meaning)
        command = option(command)
    return command


def _chat(form: str | None, columns: dict[str, str]) -> tokenization_pb2.ChatSettings:
    known = CONVERSATION_FORMATS[form] if form else tokenization_pb2.CONVERSATION_FORMAT_UNSPECIFIED
    return tokenization_pb2.ChatSettings(format=known, **columns)

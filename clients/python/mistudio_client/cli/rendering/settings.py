"""What is tokenized, as a list of facts."""

from __future__ import annotations

from collections.abc import Iterable

from mistudio.datasets.v1 import tokenization_pb2
from mistudio_client.cli.choices import CLEANING_STEPS, CONVERSATION_FORMATS, written


def settings_facts(settings: tokenization_pb2.TokenizationSettings) -> list[tuple[str, str]]:
    """The settings of a tokenization."""
    return [
        ("split", settings.split),
        ("text column", settings.text_column),
        ("conversations", _conversations(settings.chat) if settings.HasField("chat") else ""),
        ("cleaning", steps(settings.cleaning)),
    ]


def steps(cleaning: Iterable[int]) -> str:
    """Steps of cleaning as they are written on a command line."""
    return ", ".join(written(CLEANING_STEPS, step) for step in cleaning)


def _conversations(chat: tokenization_pb2.ChatSettings) -> str:
    columns = {
        "messages": chat.messages_column,
        "prompt": chat.prompt_column,
        "response": chat.response_column,
        "system": chat.system_column,
        "input": chat.input_column,
    }
    named = [f"{role} in {column}" for role, column in columns.items() if column]
    return ", ".join([written(CONVERSATION_FORMATS, chat.format) or "found out", *named])

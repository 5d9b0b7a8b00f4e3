"""Where the conversations of a dataset are, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


class ConversationFormat(StrEnum):
    """How conversations are written; mirrors `mistudio.datasets.v1.ConversationFormat`."""

    OPENAI = "OPENAI"
    SHAREGPT = "SHAREGPT"
    PROMPT_RESPONSE = "PROMPT_RESPONSE"


@dataclass(frozen=True)
class ChatSettings:
    """Where the conversations of a dataset are; in a request, what is empty is to be found out.

    Attributes:
        format: how they are written; None only in a request.
        messages_column: column with the list of messages; empty for prompt and response.
        prompt_column: column with the prompt.
        response_column: column with the response.
        system_column: column with a system message; empty if there is none.
        input_column: column with what the prompt is about, which follows it; empty if there is none.
    """

    format: ConversationFormat | None = None
    messages_column: str = ""
    prompt_column: str = ""
    response_column: str = ""
    system_column: str = ""
    input_column: str = ""

    @property
    def named_columns(self) -> dict[str, str]:
        """The columns that are named, by the field that names them."""
        return {name: value for name, value in vars(self).items() if name != "format" and value}

    def to_json(self) -> dict[str, str]:
        """These settings as JSON-ready values, without what is empty."""
        return ({"format": self.format.value} if self.format else {}) | self.named_columns

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The settings that `to_json` described."""
        plain = dict(value)
        format = plain.pop("format", None)
        return cls(format=ConversationFormat(format) if format else None, **plain)

"""Conversations as rows hold them, and as chat templates want them: lists of messages with a role and content."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mistudio_datasets.domain.conversations import ChatSettings, ConversationFormat

Message = dict[str, Any]
"""`role`, mostly `content` (text), and what else templates know, all JSON values."""

KEYS = {ConversationFormat.OPENAI: ("role", "content"), ConversationFormat.SHAREGPT: ("from", "value")}
"""The keys of a message's role and content."""

_ROLES = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "chatgpt": "assistant",
    "claude": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}
_OTHER_KEYS = ("name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning", "thinking")
_SHOWN_ROLE_CHARACTERS = 40
_SURROGATE = re.compile("[\ud800-\udfff]")


class NotAConversation(Exception):
    """A row holds no conversation; the text says why, for example `has no messages`."""


class Conversations(Protocol):
    """Finds the conversation of a row."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""

    def read(self, row: Mapping[str, Any]) -> list[Message]:
        """The messages of `row`, which holds `columns`, at least one.

        Raises:
            NotAConversation: it has none.
        """


def conversations_of(chat: ChatSettings) -> Conversations:
    """What reads conversations that are where `chat`, settled, says."""
    if chat.format is ConversationFormat.PROMPT_RESPONSE:
        return PromptAndResponse(chat)
    return ListedMessages(chat)


class ListedMessages:
    """Conversations in one column: lists of messages, or texts that hold such lists as JSON."""

    def __init__(self, chat: ChatSettings) -> None:
        assert chat.format is not None, "settled"
        self.columns = tuple(filter(None, (chat.messages_column, chat.system_column)))
        self._messages, self._system = chat.messages_column, chat.system_column
        self._keys = KEYS[chat.format]

    def read(self, row: Mapping[str, Any]) -> list[Message]:
        """See `Conversations.read`."""
        messages = messages_of(row[self._messages], self._keys)
        return _with_system(messages, row[self._system]) if self._system else messages


class PromptAndResponse:
    """Conversations of a question and an answer, each in a column of its own."""

    def __init__(self, chat: ChatSettings) -> None:
        self._prompt, self._response = chat.prompt_column, chat.response_column
        self._input, self._system = chat.input_column, chat.system_column
        self.columns = tuple(filter(None, (self._prompt, self._response, self._input, self._system)))

    def read(self, row: Mapping[str, Any]) -> list[Message]:
        """See `Conversations.read`."""
        prompt, response = _required(row, self._prompt, "prompt"), _required(row, self._response, "response")
        about = (row[self._input] or "").strip() if self._input else ""
        asked = f"{prompt}\n\n{about}" if about else prompt
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": response}]
        return _with_system(messages, row[self._system]) if self._system else messages


def _required(row: Mapping[str, Any], column: str, noun: str) -> str:
    text: str = row[column] or ""
    if not text.strip():
        raise NotAConversation(f"has no {noun}")
    return text


def _with_system(messages: list[Message], system: Any) -> list[Message]:
    has_one = messages[0]["role"] in ("system", "developer")
    if has_one or not isinstance(system, str) or not system.strip():
        return messages
    return [{"role": "system", "content": system}, *messages]


def messages_of(value: Any, keys: tuple[str, str]) -> list[Message]:
    """The messages in `value`, a list of records or the JSON of one, whose role and content lie under `keys`.

    Raises:
        NotAConversation: there are none, or one is not as it should be.
    """
    items = _parsed(value) if isinstance(value, str) else value
    if items is None:
        raise NotAConversation("is null")
    if not isinstance(items, list):
        raise NotAConversation("is no list of messages")
    if not items:
        raise NotAConversation("has no messages")
    return [_message(item, keys) for item in items]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NotAConversation("is no JSON") from None


def _message(item: Any, keys: tuple[str, str]) -> Message:
    if not isinstance(item, Mapping):
        raise NotAConversation("has a message that is no record")
    role, content = _role(item.get(keys[0])), _text(item.get(keys[1]))
    others = {key: _without_nulls(item[key]) for key in _OTHER_KEYS if item.get(key)}
    if content is None and not others:
        raise NotAConversation("has a message without content")
    return {"role": role} | ({} if content is None else {"content": content}) | others


def _role(value: Any) -> str:
    role = _ROLES.get(value.strip().lower()) if isinstance(value, str) else None
    if role is None:
        shown = "no role" if value is None else f"the unknown role {str(value)[:_SHOWN_ROLE_CHARACTERS]!r}"
        raise NotAConversation(f"has a message with {shown}")
    return role


def _text(content: Any) -> str | None:
    """Content as text; its parts, where it has some, one a line."""
    if content is None:
        return None
    parts = _parts(content)
    if parts is None:
        raise NotAConversation("has a message whose content is no text")
    text = parts if isinstance(parts, str) else "\n".join(map(_part_text, parts))
    if _SURROGATE.search(text):
        raise NotAConversation("has half a character (a lone surrogate)")
    return text


def _parts(content: Any) -> str | Sequence[Any] | None:
    """Text, or a list of parts; where rows were of both kinds, such lists were taken in as JSON."""
    if isinstance(content, str) and content.startswith('[{"') and '"type"' in content:
        parts = _parsed_or_none(content)
        return parts if isinstance(parts, list) and all(map(_is_part, parts)) else content
    return content if isinstance(content, (str, list)) else None


def _parsed_or_none(text: str) -> Any:
    try:
        return _parsed(text)
    except NotAConversation:
        return None


def _is_part(part: Any) -> bool:
    return isinstance(part, Mapping) and isinstance(part.get("type"), str)


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in ("text", None) or not isinstance(part, Mapping) or not isinstance(part.get("text"), str):
        raise NotAConversation(f"has a part that is no text ({str(kind)[:_SHOWN_ROLE_CHARACTERS]})")
    text: str = part["text"]
    return text


def _without_nulls(value: Any) -> Any:
    """`value` without what a record has only because others have it: columns give every record every key."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value

"""Rendering conversations with a model's own chat template, as `apply_chat_template` of transformers does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from jinja2 import TemplateError

from mistudio_datasets.data.texts.conversations import Message
from mistudio_datasets.data.tokens.tokenizers import ModelTokenizer
from mistudio_servicekit.errors import ChatTemplateMissing

TEMPLATE_DATE = date(2024, 7, 26)
"""What templates that print today's date print: the same conversations always give the same text.

It is the day that Llama's templates print where they are not told the time.
"""

_MOST_REASON_CHARACTERS = 200
# A template is a program that somebody wrote for other data: these are what a program of its kind raises.
_FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class NotRendered(Exception):
    """The template does not take a conversation; the text is the template's own."""


class ChatTemplate:
    """A model's chat template, compiled once, in the sandbox of transformers.

    Attributes:
        source: the template itself.
        sha256: of its UTF-8 text, hexadecimal.
    """

    def __init__(self, tokenizer: ModelTokenizer) -> None:
        """Raises `ChatTemplateMissing` when the model has none, or one that does not compile."""
        # transformers takes seconds to import, and only this needs it.
        from transformers.utils.chat_template_utils import _compile_jinja_template, render_jinja_template

        if not tokenizer.chat_template:
            raise chat_template_missing("The model's tokenizer has no chat template")
        self.source = tokenizer.chat_template
        self.sha256 = hashlib.sha256(self.source.encode()).hexdigest()
        try:
            compiled = _compile_jinja_template(self.source)
        except _FAILURES as error:
            raise chat_template_missing(f"The model's chat template is broken: {_reason(error)}") from error
        # The compiled template is kept by transformers, and `render_jinja_template` takes the same.
        compiled.globals["strftime_now"] = TEMPLATE_DATE.strftime
        self._render: Callable[..., Any] = render_jinja_template
        self._special_tokens = dict(tokenizer.named_special_tokens)
        self._bos = tokenizer.bos.token if tokenizer.bos and tokenizer.adds_bos else ""

    def render(self, messages: Sequence[Message]) -> str:
        """The text of a conversation.

        It begins with exactly one BOS where the template writes one or the tokenizer puts one before every text.

        Raises:
            NotRendered: the template does not take it.
        """
        try:
            (text,), _ = self._render(
                conversations=[messages], chat_template=self.source, add_generation_prompt=False, **self._special_tokens
            )
            text.encode()  # arguments of tool calls, escaped in JSON, may hold half a character
        except _FAILURES as error:
            raise NotRendered(_reason(error)) from error
        if not text.strip():
            raise NotRendered("it renders nothing")
        return f"{'' if text.lstrip().startswith(self._bos) else self._bos}{text}"


def chat_template_missing(problem: str) -> ChatTemplateMissing:
    """The error for a model whose chat template cannot be used."""
    return ChatTemplateMissing(
        problem,
        next_step="Choose a model with a chat template, or set settings.text_column to tokenize text",
        field="settings.chat",
    )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:_MOST_REASON_CHARACTERS].rstrip(".")

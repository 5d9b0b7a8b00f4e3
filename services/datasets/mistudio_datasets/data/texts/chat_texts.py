"""From conversations to texts: read, cleaned message by message, rendered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mistudio_datasets.data.texts.chat_templates import ChatTemplate, NotRendered
from mistudio_datasets.data.texts.cleaning import Cleaner, StepEffect
from mistudio_datasets.data.texts.conversations import Conversations, Message, NotAConversation
from mistudio_datasets.data.texts.texts import Prepared, RowNumbers

REFUSED = "the chat template does not take it"
"""How the problem of a row begins that the template refuses."""

_EMPTIED = "has no text left after cleaning"


class ChatTexts:
    """The conversations of rows, rendered; rows that are no conversation are empty documents.

    Attributes:
        template: what renders them.
    """

    def __init__(self, conversations: Conversations, cleaner: Cleaner, template: ChatTemplate) -> None:
        self.columns = conversations.columns
        self._conversations = conversations
        self._cleaner = cleaner
        self.template = template

    def prepare(self, rows: pa.RecordBatch) -> Prepared:
        """See `Preparer.prepare`."""
        problems: dict[str, list[int]] = defaultdict(list)
        found: dict[int, list[Message]] = {}
        for number, row in enumerate(rows.to_pylist()):
            try:
                found[number] = self._conversations.read(row)
            except NotAConversation as reason:
                problems[str(reason)].append(number)
        effects = self._clean(found)
        for number in {int(number) for effect in effects for number in effect.emptied}:
            problems[_EMPTIED].append(number)
            del found[number]
        texts = self._render(found, len(rows), problems)
        return Prepared(texts, _numbered(problems), effects)

    def _clean(self, found: Mapping[int, Sequence[Message]]) -> tuple[StepEffect, ...]:
        """Clean the messages in place; what each step did."""
        messages = [message for conversation in found.values() for message in conversation if "content" in message]
        documents = [
            number for number, conversation in found.items() for message in conversation if "content" in message
        ]
        before = pa.array([message["content"] for message in messages], pa.string())
        after, effects = self._cleaner.clean(before, np.array(documents, np.int64))
        if effects:
            for message, content in zip(messages, after.to_pylist(), strict=True):
                message["content"] = content
        return effects

    def _render(
        self, found: Mapping[int, Sequence[Message]], rows: int, problems: dict[str, list[int]]
    ) -> pa.StringArray:
        texts = [""] * rows
        for number, messages in found.items():
            try:
                texts[number] = self.template.render(messages)
            except NotRendered as reason:
                problems[f"{REFUSED}: {reason}"].append(number)
        return pa.array(texts, pa.string())


def _numbered(problems: Mapping[str, list[int]]) -> dict[str, RowNumbers]:
    return {reason: _sorted(numbers) for reason, numbers in problems.items()}


def _sorted(numbers: list[int]) -> npt.NDArray[np.int64]:
    return np.array(sorted(numbers), np.int64)

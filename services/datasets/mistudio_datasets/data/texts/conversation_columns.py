"""Which columns hold the conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from mistudio_datasets.data.incoming.parquet_files import open_parquet
from mistudio_datasets.data.texts.conversations import KEYS, NotAConversation, messages_of
from mistudio_datasets.data.texts.rows import few_rows
from mistudio_datasets.domain.conversations import ChatSettings, ConversationFormat
from mistudio_datasets.domain.datasets import ColumnKind, Layout, SplitInfo
from mistudio_servicekit.errors import ConversationMissing, InvalidArgument
from mistudio_servicekit.storage import confined

_MESSAGES_NAMES = ("messages", "conversations", "conversation", "chat", "dialogue", "dialog", "chosen")
_PROMPT_NAMES = ("prompt", "instruction", "question", "query", "problem", "input")
_RESPONSE_NAMES = ("response", "output", "answer", "completion", "chosen", "solution")
_SYSTEM_NAMES = ("system", "system_prompt", "system_message")
_INPUT_NAMES = ("input", "context")
_HAS_INPUT = "instruction"
"""A prompt column of this name may have what it is about in another column."""

_LOOKED_AT_ROWS = 20
_SHOWN_TYPE_CHARACTERS = 80


@dataclass(frozen=True)
class _Look:
    """A column of a split: its type, the values in its first rows, and whether it is text."""

    name: str
    type: pa.DataType
    values: Sequence[Any]
    is_text: bool

    def format(self) -> ConversationFormat:
        """How the conversations in it are written.

        Raises:
            NotAConversation: there are none in it.
        """
        if self.is_text:
            return self._first_that_reads(KEYS)
        items = getattr(self.type, "value_type", None)
        if items is None or not pa.types.is_struct(items):
            raise NotAConversation(f"holds {_short(self.type)}, no list of messages")
        names = {field.name for field in items}
        wanted = {format: keys for format, keys in KEYS.items() if names.issuperset(keys)}
        if not wanted:
            raise NotAConversation("holds lists of records without role and content or from and value")
        return self._first_that_reads(wanted) if self._known else next(iter(wanted))

    @property
    def _known(self) -> list[Any]:
        return [value for value in self.values if value is not None]

    def _first_that_reads(self, wanted: Mapping[ConversationFormat, tuple[str, str]]) -> ConversationFormat:
        """The format in which one of the values is a conversation."""
        problem = "has no value in its first rows"
        for format, keys in wanted.items():
            for value in self._known:
                try:
                    messages_of(value, keys)
                except NotAConversation as reason:
                    problem = f"{reason} in its first rows"
                else:
                    return format
        raise NotAConversation(problem)


class ConversationColumns:
    """Finds conversations in a split.

    Args:
        folder: the dataset's epoch folder; a few rows are read.
        layout: where its rows lie.
        split: whose rows are read.
    """

    def __init__(self, folder: Path, layout: Layout, split: SplitInfo) -> None:
        self._texts = [column.name for column in layout.columns if column.kind is ColumnKind.TEXT]
        self._looks = {look.name: look for look in _looks(folder, layout, split)}

    def recognise(self, wanted: ChatSettings | None = None) -> ChatSettings | None:
        """The column of messages with a usual name, or else the first one, as settings; None if there is none.

        Args:
            wanted: what must be as it says there.
        """
        asked = wanted or ChatSettings()
        found = {name: format for name, format in self._formats() if asked.format in (None, format)}
        if not found:
            return None
        name = next((name for name in _MESSAGES_NAMES if name in found), next(iter(found)))
        return self._with_system(replace(asked, format=found[name], messages_column=name))

    def settle(self, wanted: ChatSettings) -> ChatSettings:
        """`wanted` with everything that is empty found out.

        Raises:
            ConversationMissing: a column that is named there, or any, is no conversation; names the field.
            InvalidArgument: it names columns of both kinds.
        """
        self._require_columns(wanted)
        if wanted.messages_column:
            return self._listed(wanted)
        is_pair = wanted.prompt_column or wanted.response_column or wanted.input_column
        if is_pair or wanted.format is ConversationFormat.PROMPT_RESPONSE:
            return self._pair(wanted)
        found = self.recognise(wanted)
        if found is None and wanted.format is None and self._pick(_PROMPT_NAMES) and self._pick(_RESPONSE_NAMES):
            return self._pair(wanted)
        if found is None:
            raise self._missing("The dataset has no column of messages", "messages_column")
        return found

    def _formats(self) -> Iterator[tuple[str, ConversationFormat]]:
        for look in self._looks.values():
            try:
                yield look.name, look.format()
            except NotAConversation:
                continue

    def _require_columns(self, wanted: ChatSettings) -> None:
        for field, name in wanted.named_columns.items():
            if name not in self._looks:
                raise self._missing(f"The dataset has no column {name!r}", field)
            if field != "messages_column" and name not in self._texts:
                raise self._missing(f"The column {name!r} holds {_short(self._looks[name].type)}, not text", field)

    def _listed(self, wanted: ChatSettings) -> ChatSettings:
        odd = next((name for name in ("prompt_column", "response_column", "input_column") if getattr(wanted, name)), "")
        if odd or wanted.format is ConversationFormat.PROMPT_RESPONSE:
            raise InvalidArgument(
                f"settings.chat names messages_column {wanted.messages_column!r} and asks for a pair as well",
                next_step="Set messages_column alone, or prompt_column and response_column",
                field=f"settings.chat.{odd or 'format'}",
            )
        try:
            format = self._looks[wanted.messages_column].format()
        except NotAConversation as reason:
            problem = f"The column {wanted.messages_column!r} is no column of conversations: it {reason}"
            raise self._missing(problem, "messages_column") from None
        if wanted.format not in (None, format):
            problem = f"The conversations in {wanted.messages_column!r} are written as {format}, not {wanted.format}"
            raise self._missing(problem, "format")
        return self._with_system(replace(wanted, format=format))

    def _pair(self, wanted: ChatSettings) -> ChatSettings:
        response = wanted.response_column or self._pick(_RESPONSE_NAMES, wanted.prompt_column)
        prompt = wanted.prompt_column or self._pick(_PROMPT_NAMES, response)
        for name, field in ((prompt, "prompt_column"), (response, "response_column")):
            if not name:
                raise self._missing(f"The dataset has no text column with a usual name for {field}", field)
        about = wanted.input_column
        if not about and prompt.lower() == _HAS_INPUT:
            about = self._pick(_INPUT_NAMES, prompt, response)
        settled = replace(wanted, prompt_column=prompt, response_column=response, input_column=about)
        return self._with_system(replace(settled, format=ConversationFormat.PROMPT_RESPONSE))

    def _with_system(self, chat: ChatSettings) -> ChatSettings:
        return chat if chat.system_column else replace(chat, system_column=self._pick(_SYSTEM_NAMES))

    def _pick(self, names: Sequence[str], *taken: str) -> str:
        """The text column with the first of `names` that there is, in any case; empty if there is none."""
        by_lower_name = {name.lower(): name for name in reversed(self._texts) if name not in taken}
        return next((by_lower_name[name] for name in names if name in by_lower_name), "")

    def _missing(self, problem: str, field: str) -> ConversationMissing:
        columns = "; ".join(f"{name} {_why_not(look)}" for name, look in self._looks.items())
        return ConversationMissing(
            problem,
            next_step=f"Name the columns in settings.chat, or set settings.text_column; of the columns, {columns}",
            field=f"settings.chat.{field}",
            metadata={"columns": ",".join(self._looks)},
        )


def _why_not(look: _Look) -> str:
    try:
        return f"holds conversations ({look.format()})"
    except NotAConversation as reason:
        return f"({_short(look.type)}) {reason}"


def _short(type_: pa.DataType) -> str:
    text = str(type_)
    return text if len(text) <= _SHOWN_TYPE_CHARACTERS else f"{text[:_SHOWN_TYPE_CHARACTERS]}…"


def _looks(folder: Path, layout: Layout, split: SplitInfo) -> Iterator[_Look]:
    """Every column, with its first values where it may hold conversations."""
    file = next(name for name, rows in zip(split.files, split.file_rows, strict=True) if rows)
    types = open_parquet(confined(folder, file), file).schema_arrow
    kinds = {column.name: column.kind for column in layout.columns}
    wanted = [name for name, kind in kinds.items() if kind in (ColumnKind.LIST, ColumnKind.TEXT)]
    first = next(few_rows(folder, split, wanted, 0, _LOOKED_AT_ROWS), None) if wanted else None
    for name, kind in kinds.items():
        values = [] if first is None or name not in wanted else first.column(name).to_pylist()
        yield _Look(name, types.field(name).type, list(islice(values, _LOOKED_AT_ROWS)), kind is ColumnKind.TEXT)

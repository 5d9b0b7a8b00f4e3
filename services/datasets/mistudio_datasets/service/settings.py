"""What is tokenized: checked, and with every default filled in."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from mistudio_datasets.data.incoming.layout_file import read_layout
from mistudio_datasets.data.texts.conversation_columns import ConversationColumns
from mistudio_datasets.data.texts.text_column import find_text_column, usual_text_column
from mistudio_datasets.domain.conversations import ChatSettings
from mistudio_datasets.domain.datasets import ColumnKind, Dataset, Layout, SplitInfo
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_datasets.service.tools import ModelInfo, Tools
from mistudio_servicekit.errors import (
    ChatTemplateMissing,
    DatasetEmpty,
    InvalidArgument,
    ModelNotReady,
    TokenizerMissing,
)
from mistudio_servicekit.requests import MAX_NAME, check_length
from mistudio_servicekit.storage import Area


def check_settings(settings: TokenizationSettings) -> None:
    """Raise `InvalidArgument` unless the settings of a request can be right."""
    check_length("settings.split", settings.split, MAX_NAME)
    check_length("settings.text_column", settings.text_column, MAX_NAME)
    if settings.chat is not None:
        for field, name in settings.chat.named_columns.items():
            check_length(f"settings.chat.{field}", name, MAX_NAME)
    if settings.text_column and settings.chat is not None:
        raise InvalidArgument(
            f"settings.text_column is {settings.text_column!r} and settings.chat is set as well",
            next_step="Set text_column to tokenize text, or chat to tokenize conversations",
            field="settings.text_column",
        )
    for number, step in enumerate(settings.cleaning):
        if step in settings.cleaning[:number]:
            raise InvalidArgument(
                f"settings.cleaning[{number}] is {step} for the second time",
                next_step="Name every step once, in the order in which they are taken",
                field=f"settings.cleaning[{number}]",
            )


def require_tokenizer(model: ModelInfo) -> None:
    """Raise `ModelNotReady` or `TokenizerMissing` unless the model has a tokenizer in the store."""
    metadata = {"subject": f"model/{model.id}", "status": model.status}
    if model.status != "READY":
        raise ModelNotReady(
            f"Model {model.id} ({model.name}) is {model.status}, not READY",
            next_step="Wait until its download is complete, or download it again",
            metadata=metadata,
        )
    if not model.has_tokenizer:
        raise TokenizerMissing(
            f"Model {model.id} ({model.name}) carries no tokenizer",
            next_step="Choose a model that has one, or download the model it was made from",
            metadata=metadata,
        )


async def settle(
    tools: Tools, dataset: Dataset, model: ModelInfo, wanted: TokenizationSettings
) -> TokenizationSettings:
    """The settings with every default filled in; the same for `CreateTokenization` and `PreviewTokenization`.

    Raises:
        SplitNotFound, DatasetEmpty, TextColumnMissing, ConversationMissing: the dataset forbids it.
        ChatTemplateMissing: conversations are wanted, and the model has no chat template.
        InvalidArgument: `chat` names columns of two kinds.
    """
    folder = tools.store.epoch(Area.DATASETS, dataset.id, dataset.epoch)
    return await asyncio.to_thread(_settle, folder, dataset, model, wanted)


def _settle(folder: Path, dataset: Dataset, model: ModelInfo, wanted: TokenizationSettings) -> TokenizationSettings:
    layout = read_layout(folder)
    split = layout.split(wanted.split, field="settings.split")
    if split.rows == 0:
        raise DatasetEmpty(
            f"The split {split.name!r} of dataset {dataset.id} has no rows",
            next_step="Choose a split that holds rows",
            metadata={"subject": f"dataset/{dataset.id}", "split": split.name},
        )
    named = replace(wanted, split=split.name)
    chat = _chat(folder, layout, split, model, wanted)
    if chat is not None:
        return replace(named, chat=chat)
    return replace(named, text_column=find_text_column(folder, layout, split.name, wanted.text_column))


def _chat(
    folder: Path, layout: Layout, split: SplitInfo, model: ModelInfo, wanted: TokenizationSettings
) -> ChatSettings | None:
    """Where the conversations are that are to be tokenized; None for text."""
    if wanted.chat is not None:
        if not model.has_chat_template:
            raise _no_chat_template(model)
        return ConversationColumns(folder, layout, split).settle(wanted.chat)
    if wanted.text_column or usual_text_column(layout):
        return None
    found = ConversationColumns(folder, layout, split).recognise()
    if found is None or model.has_chat_template:
        return found
    if not any(column.kind is ColumnKind.TEXT for column in layout.columns):
        raise _no_chat_template(model)
    return None


def _no_chat_template(model: ModelInfo) -> ChatTemplateMissing:
    return ChatTemplateMissing(
        f"Model {model.id} ({model.name}) has no chat template to render conversations with",
        next_step="Choose a model that has one, or set settings.text_column to tokenize text",
        field="settings.chat",
        metadata={"subject": f"model/{model.id}"},
    )

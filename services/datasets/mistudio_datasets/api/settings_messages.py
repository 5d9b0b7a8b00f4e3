"""Settings of tokenizations as messages, and back."""

from __future__ import annotations

from collections.abc import Sequence

from mistudio.datasets.v1 import tokenization_pb2 as pb
from mistudio_datasets.domain.cleaning import CleaningStep
from mistudio_datasets.domain.conversations import ChatSettings, ConversationFormat
from mistudio_datasets.domain.tokenizations import TokenizationSettings
from mistudio_servicekit.errors import InvalidArgument

_STEP, _FORMAT = "CLEANING_STEP_", "CONVERSATION_FORMAT_"


def settings_message(settings: TokenizationSettings) -> pb.TokenizationSettings:
    """The settings as clients see them."""
    message = pb.TokenizationSettings(
        split=settings.split, text_column=settings.text_column, cleaning=step_messages(settings.cleaning)
    )
    if settings.chat is not None:
        format = pb.CONVERSATION_FORMAT_UNSPECIFIED
        if settings.chat.format is not None:
            format = pb.ConversationFormat.Value(f"{_FORMAT}{settings.chat.format}")
        message.chat.CopyFrom(pb.ChatSettings(format=format, **settings.chat.named_columns))
    return message


def step_messages(steps: Sequence[CleaningStep]) -> list[pb.CleaningStep.ValueType]:
    """Steps of cleaning as clients see them."""
    return [pb.CleaningStep.Value(f"{_STEP}{step}") for step in steps]


def settings_of(message: pb.TokenizationSettings) -> TokenizationSettings:
    """The settings that a client asks for.

    Raises:
        InvalidArgument: they name a step or format that there is not.
    """
    return TokenizationSettings(
        split=message.split,
        text_column=message.text_column,
        chat=_chat(message.chat) if message.HasField("chat") else None,
        cleaning=tuple(_step(number, value) for number, value in enumerate(message.cleaning)),
    )


def _chat(message: pb.ChatSettings) -> ChatSettings:
    return ChatSettings(
        format=_format(message.format),
        messages_column=message.messages_column,
        prompt_column=message.prompt_column,
        response_column=message.response_column,
        system_column=message.system_column,
        input_column=message.input_column,
    )


def _format(value: pb.ConversationFormat.ValueType) -> ConversationFormat | None:
    if value == pb.CONVERSATION_FORMAT_UNSPECIFIED:
        return None
    if value not in pb.ConversationFormat.values():
        raise _unknown("settings.chat.format", value, list(ConversationFormat))
    return ConversationFormat(pb.ConversationFormat.Name(value).removeprefix(_FORMAT))


def _step(number: int, value: pb.CleaningStep.ValueType) -> CleaningStep:
    if value == pb.CLEANING_STEP_UNSPECIFIED or value not in pb.CleaningStep.values():
        raise _unknown(f"settings.cleaning[{number}]", value, list(CleaningStep))
    return CleaningStep(pb.CleaningStep.Name(value).removeprefix(_STEP))


def _unknown(field: str, value: int, known: Sequence[str]) -> InvalidArgument:
    return InvalidArgument(f"{field} is {value}", next_step=f"Use one of {', '.join(known)}", field=field)

import hashlib
import json

import pytest

from mistudio_datasets.domain.cleaning import CleaningStep
from mistudio_datasets.domain.conversations import ChatSettings, ConversationFormat
from mistudio_datasets.domain.tokenizations import TokenizationSettings


def test_equal_settings_have_one_digest() -> None:
    assert TokenizationSettings("train", "text").digest() == TokenizationSettings("train", "text").digest()


def test_any_difference_changes_the_digest() -> None:
    base = TokenizationSettings("train", "text")
    html, urls = CleaningStep.REMOVE_HTML, CleaningStep.REMOVE_URLS
    others = [
        TokenizationSettings("test", "text"),
        TokenizationSettings("train", "body"),
        TokenizationSettings("train", "text", cleaning=(html,)),
        TokenizationSettings("train", "text", cleaning=(html, urls)),
        TokenizationSettings("train", "text", cleaning=(urls, html)),
        TokenizationSettings("train", "text", ChatSettings()),
        TokenizationSettings("train", "text", ChatSettings(ConversationFormat.OPENAI)),
        TokenizationSettings("train", "text", ChatSettings(ConversationFormat.OPENAI, "messages")),
    ]
    assert len({base.digest(), *(other.digest() for other in others)}) == 9


@pytest.mark.parametrize(
    "settings",
    [
        TokenizationSettings("train", "körper"),
        TokenizationSettings("", "", ChatSettings()),
        TokenizationSettings("a", "", ChatSettings(ConversationFormat.SHAREGPT, "m"), (CleaningStep.LOWERCASE,)),
        TokenizationSettings("a", "", ChatSettings(ConversationFormat.PROMPT_RESPONSE, "", "p", "r", "s", "i")),
    ],
)
def test_settings_survive_their_canonical_json(settings: TokenizationSettings) -> None:
    assert TokenizationSettings.from_json(json.loads(settings.canonical_json())) == settings


def test_settings_from_before_chats_and_cleaning_are_read_and_keep_their_digest() -> None:
    kept = '{"split":"train","text_column":"text"}'
    settings = TokenizationSettings.from_json(json.loads(kept))
    assert settings == TokenizationSettings("train", "text")
    assert settings.digest() == hashlib.sha256(kept.encode()).hexdigest()

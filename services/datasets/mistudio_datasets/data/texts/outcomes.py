"""What became of a split's rows on their way to texts: counted batch by batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mistudio_datasets.data.texts.chat_templates import TEMPLATE_DATE, ChatTemplate, chat_template_missing
from mistudio_datasets.data.texts.chat_texts import REFUSED, ChatTexts
from mistudio_datasets.data.texts.cleaning import Cleaner, libraries_of
from mistudio_datasets.data.texts.conversations import conversations_of
from mistudio_datasets.data.texts.texts import IS_NULL, PlainText, Prepared, Preparer
from mistudio_datasets.data.tokens.tokenizers import ModelTokenizer
from mistudio_datasets.domain.cleaning import CleaningStep
from mistudio_datasets.domain.tokenizations import TokenizationSettings

_MOST_REASONS = 50
OTHER_REASONS = "other reasons"
"""Counts the rows whose reason came after the first 50."""


def preparer_of(settings: TokenizationSettings, tokenizer: ModelTokenizer) -> Preparer:
    """What makes texts of rows, as `settings`, settled, say.

    Raises:
        ChatTemplateMissing: they say conversations, and the model has no chat template, or a broken one.
    """
    cleaner = Cleaner(settings.cleaning)
    if settings.chat is None:
        return PlainText(settings.text_column, cleaner)
    return ChatTexts(conversations_of(settings.chat), cleaner, ChatTemplate(tokenizer))


class Outcomes:
    """Counts rows that are empty documents, by their reason, and what each step of cleaning did."""

    def __init__(self) -> None:
        self.rows = 0
        self.reasons: Counter[str] = Counter()
        self._changed: Counter[CleaningStep] = Counter()
        self._emptied: Counter[CleaningStep] = Counter()

    def add(self, prepared: Prepared) -> None:
        """Count a batch."""
        self.rows += len(prepared.texts)
        for reason, rows in prepared.problems.items():
            is_known = reason in self.reasons or len(self.reasons) < _MOST_REASONS
            self.reasons[reason if is_known else OTHER_REASONS] += len(rows)
        for effect in prepared.effects:
            self._changed[effect.step] += len(effect.changed)
            self._emptied[effect.step] += len(effect.emptied)

    @property
    def null_rows(self) -> int:
        """Rows without a value."""
        return self.reasons[IS_NULL]

    def require_rendered(self) -> None:
        """Raise `ChatTemplateMissing` when the chat template took no conversation although there were some."""
        refused = {reason: rows for reason, rows in self.reasons.items() if reason.startswith(REFUSED)}
        if refused and self.reasons.total() == self.rows:
            reason = max(refused, key=lambda reason: refused[reason]).removeprefix(f"{REFUSED}: ")
            conversations = sum(refused.values())
            raise chat_template_missing(
                f"The model's chat template takes none of the {conversations:,} conversations: {reason}"
            )

    def described(self, settings: TokenizationSettings, preparer: Preparer) -> dict[str, Any]:
        """All this for a manifest: `chat` and `cleaning` where there is some."""
        reasons = {"empty_because": dict(self.reasons.most_common())} if self.reasons else {}
        cleaning = {"cleaning": self._cleaning(settings)} if settings.cleaning else {}
        chat = {"chat": self._chat(preparer.template)} if isinstance(preparer, ChatTexts) else {}
        return {**reasons, **chat, **cleaning}

    def _cleaning(self, settings: TokenizationSettings) -> dict[str, Any]:
        steps = [
            {"step": step.value, "changed_documents": self._changed[step], "emptied_documents": self._emptied[step]}
            for step in settings.cleaning
        ]
        return {"steps": steps, "libraries": libraries_of(settings.cleaning)}

    def _chat(self, template: ChatTemplate) -> dict[str, Any]:
        return {
            "template_sha256": template.sha256,
            "template_date": TEMPLATE_DATE.isoformat(),
            "conversations": self.rows - self.reasons.total(),
            "no_conversations": self.reasons.total(),
        }
